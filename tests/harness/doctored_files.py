"""Production files that somebody altered, each in one way, and why they are refused.

Whoever alters one has the archive alone, and makes everything fit that can be made to fit without the log's
key: the manifest, the zip's own sums, the hashes of the entries that are not shown.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.core.report import form
from harness.paper_certificates import der, new_key
from harness.paper_log import PaperLog
from harness.production_files import (
    Files,
    files_of,
    fitted,
    pack,
    with_manifest,
    with_record,
    without_entries,
)

Doctor = Callable[[Path, Files, PaperLog], Path]


@dataclass(frozen=True)
class Doctored:
    """`reason`: a part of what the command says. `page`: of what the page says; empty: the same."""

    doctor: Doctor
    reason: str
    page: str = ""

    @property
    def page_says(self) -> str:
        """The page has the same checks in words of its own, where the command has a code."""
        return self.page or self.reason


def altered(change: Callable[[Files], Files]) -> Doctor:
    """Files changed, and the manifest made to fit."""
    return lambda path, files, _log: pack(path, fitted(change(files)))


def unfitted(change: Callable[[Files], Files]) -> Doctor:
    """Files changed, and the manifest left."""
    return lambda path, files, _log: pack(path, change(files))


def raw(change: Callable[[bytes], bytes]) -> Doctor:
    """Bytes of the zip changed."""

    def doctor(path: Path, files: Files, _log: PaperLog) -> Path:
        pack(path, files)
        path.write_bytes(change(path.read_bytes()))
        return path

    return doctor


def _replaced(name: str, old: bytes, new: bytes) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        assert old in files[name]
        return files | {name: files[name].replace(old, new)}

    return change


def _is(kind: str, **members: Any) -> Callable[[dict[str, object]], bool]:
    wanted = {"type": kind, **members}
    return lambda entry: all(entry.get(name) == value for name, value in wanted.items())


def _first_record(files: Files) -> dict[str, str]:
    value: dict[str, str] = json.loads(files[form.RECORDS].splitlines()[0])
    return value


def _left_out(files: Files) -> Files:
    """Place 2 with all that speaks of it, and its record."""
    line = files[form.RECORDS].splitlines(keepends=True)[1]
    index = json.loads(line)["index"]
    entry = next(
        json.loads(data)
        for at, data in map(form.parse_entry_line, files[form.ENTRIES].splitlines(keepends=True))
        if at == index
    )
    digest = entry["certificate_sha256"]
    files = without_entries(files, lambda each: each.get("certificate_sha256") == digest)
    return files | {form.RECORDS: files[form.RECORDS].replace(line, b"")}


def _last_left_out(files: Files) -> Files:
    """The revocation, so that a scrapped board seems good."""
    return without_entries(files, _is("revoked"))


def _without_record(files: Files) -> Files:
    return files | {form.RECORDS: b"".join(files[form.RECORDS].splitlines(keepends=True)[1:])}


def _exchanged(path: Path, files: Files, log: PaperLog) -> Path:
    """A certificate that the issuer signed too, for another key."""
    other = log.issuer.leaf(new_key(), name="WO-1-000001", serial=1)
    return pack(path, fitted(with_record(files, 0, certificate=der(other))))


def _bomb(path: Path, files: Files, _log: PaperLog) -> Path:
    """A few kilobytes that unpack to 64 MiB."""
    return pack(path, files | {form.ENTRIES: bytes(64 << 20)}, method=zipfile.ZIP_DEFLATED)


def _renamed(name: str) -> Doctor:
    def doctor(path: Path, files: Files, _log: PaperLog) -> Path:
        return pack(path, {(name if each == form.README else each): data for each, data in files.items()})

    return doctor


def _twice(path: Path, files: Files, _log: PaperLog) -> Path:
    """The checkpoint again, where a reader by name finds the second one."""
    pack(path, files)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    data = path.read_bytes()
    other = "x" * len(form.CHECKPOINT)
    assert other not in names
    pack(path, {form.README: files[form.README], form.CHECKPOINT: files[form.CHECKPOINT], other: b"another"})
    data = path.read_bytes().replace(other.encode(), form.CHECKPOINT.encode())
    path.write_bytes(data)
    return path


def _says_more(data: bytes) -> bytes:
    """The size in the directory is larger than that of the file."""
    at = data.index(b"PK\x01\x02") + 20
    return data[:at] + struct.pack("<II", 1 << 31, 1 << 31) + data[at + 8 :]


_NO_TIME: dict[str, Any] = {
    "order": None, "from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z", "whole": [17, 17],
}  # fmt: skip


DOCTORED: dict[str, Doctored] = {
    "an entry changed": Doctored(
        altered(_replaced(form.ENTRIES, b'"chip-WO-1-1"', b'"chip-WO-1-7"')), "not those of the checkpoint"
    ),
    "an entry changed and not the manifest": Doctored(
        unfitted(_replaced(form.ENTRIES, b'"chip-WO-1-1"', b'"chip-WO-1-7"')), "entries.jsonl is not what"
    ),
    "an entry left out": Doctored(
        altered(
            lambda files: files | {form.ENTRIES: b"".join(files[form.ENTRIES].splitlines(keepends=True)[:-1])}
        ),
        "not those of the checkpoint",
    ),
    "a board left out": Doctored(altered(_left_out), "boards are left out: places 2"),
    "a record left out": Doctored(altered(_without_record), "a record is left out"),
    "a record named as missing": Doctored(
        altered(
            lambda files: with_manifest(
                _without_record(files), without_record=[_first_record(files)["index"]]
            )
        ),
        "named as having no record",
    ),
    "a certificate exchanged": Doctored(_exchanged, "F413", "certificate is not the one that its entry"),
    "evidence exchanged": Doctored(
        altered(lambda files: with_record(files, 0, evidence=bytes(32))),
        "F422",
        "evidence is not the one that its entry",
    ),
    "a stamp exchanged": Doctored(
        altered(lambda files: with_record(files, 0, stamp=b"x")),
        "F431",
        "the stamp is not the one that its entry",
    ),
    "a stamp taken away": Doctored(
        altered(lambda files: with_record(files, 0, stamp=b"", stamp_signature=b"")),
        "F404",
        "the stamp is not the one that its entry",
    ),
    "settings exchanged": Doctored(
        altered(lambda files: with_record(files, 0, settings=b"\xa0")),
        "F424",
        "settings is not the one that its entry",
    ),
    "the checkpoint changed": Doctored(
        altered(lambda files: files | {form.CHECKPOINT: files[form.CHECKPOINT].replace(b"\n", b"\n1", 1)}),
        "signature of paper.example/line does not hold",
    ),
    "the checkpoint without a signature": Doctored(
        altered(
            lambda files: files | {form.CHECKPOINT: files[form.CHECKPOINT].partition(b"\n\n")[0] + b"\n"}
        ),
        "a note is a text, an empty line and signature lines",
    ),
    "another checkpoint in the manifest": Doctored(
        altered(lambda files: with_manifest(files, tree_size=1)), "not of this checkpoint"
    ),
    "other sums in the manifest": Doctored(
        altered(lambda files: with_manifest(files, counts={"boards": 5})), "counts otherwise"
    ),
    "another deployment in the manifest": Doctored(
        altered(lambda files: with_manifest(files, deployment="other")), "names another deployment"
    ),
    "as of a later day": Doctored(
        altered(lambda files: with_manifest(files, as_of="2030-01-01T00:00:00Z")), "is as of 2030-01-01"
    ),
    "as of an earlier day": Doctored(
        altered(lambda files: with_manifest(files, as_of="2020-01-01T00:00:00Z")), "is as of 2020-01-01"
    ),
    "a time that has no entries": Doctored(
        altered(lambda files: with_manifest(files, **_NO_TIME)),
        "does not say which entries are of that time",
    ),
    "a time in other words": Doctored(
        altered(lambda files: with_manifest(files, **_NO_TIME | {"from": "1 Nov 2020 (2026)"})),
        "form",
    ),
    "the page changed": Doctored(
        unfitted(_replaced(form.PAGE, b"scrapped", b"polished")), "report.html is not what"
    ),
    "a revocation left out, said to be whole": Doctored(
        altered(lambda files: with_manifest(_last_left_out(files), whole=[4, 20])), "entries are left out"
    ),
    "an issuer exchanged": Doctored(
        altered(lambda files: files | {form.ISSUERS: files[form.ISSUERS][: len(files[form.ISSUERS]) // 3]}),
        "cannot be read",
    ),
    "the product file exchanged": Doctored(
        altered(
            lambda files: {
                name: data + b"# no\n" if name.startswith("products/") else data
                for name, data in files.items()
            }
        ),
        "another file than its name says",
    ),
    "a later form": Doctored(altered(lambda files: with_manifest(files, v=2)), "of form 2"),
    "cut short": Doctored(raw(lambda data: data[: len(data) // 2]), "ends within"),
    "its end cut off": Doctored(raw(lambda data: data[:-1]), "ends within the zip"),
    "something behind it": Doctored(raw(lambda data: data + b"x"), "behind the end"),
    "something before it": Doctored(raw(lambda data: b"#!/bin/sh\n" + data), "does not begin"),
    "a zip bomb": Doctored(_bomb, "is compressed"),
    "a larger size in the directory": Doctored(raw(_says_more), "does not name"),
    "a byte of a file flipped": Doctored(
        raw(lambda data: data.replace(b"chip-WO-1-1", b"chip-WO-1-7", 1)),
        "CRC-32",
        "entries.jsonl is not what",
    ),
    "a file twice": Doctored(_twice, "checkpoint stands twice"),
    "a path that leads out": Doctored(_renamed("../README.txt"), "leads out of the archive"),
    "an absolute path": Doctored(_renamed("/etc/passwd"), "leads out of the archive"),
    "a file of another name": Doctored(_renamed("README.exe"), "a file that no production file has here"),
    "no zip at all": Doctored(raw(lambda _: b"<html>"), "does not begin"),
    "nothing": Doctored(raw(lambda _: b""), "ends within"),
}


def doctored(name: str, honest: Path, directory: Path, log: PaperLog) -> Path:
    """The archive of this name, made from an honest one."""
    return DOCTORED[name].doctor(directory / f"{name}.zip", files_of(honest), log)
