"""The files of a production file, and the form of their lines (docs/formats.md, "Production file").

Guarantees: each line has one spelling. What `parse_…` takes, `…_line` gives back byte for byte, and
everything else raises Malformed. Nothing is verified here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import rfc8785

from auditor.core.canonical import canonical_object
from auditor.core.entry import MAX_ENTRY
from auditor.errors import CheckFailed, Malformed

VERSION = 1  # `v` of the manifest
KIND = "birthmark-production-file"
README, CHECKPOINT, VKEY, ENTRIES = "README.txt", "checkpoint", "log.vkey", "entries.jsonl"
SUBTREES, RECORDS, ISSUERS, FINDINGS = "subtrees.txt", "records.jsonl", "issuers.pem", "findings.jsonl"
PAGE, MANIFEST = "report.html", "manifest.json"
_PRODUCTS, _CRLS = "products/", "crls/"
_BEFORE = (README, CHECKPOINT, VKEY, ENTRIES, SUBTREES, RECORDS, ISSUERS)
_AFTER = (FINDINGS, PAGE, MANIFEST)
_PRODUCT = re.compile(r"products/[0-9a-f]{64}\.toml")
_CRL = re.compile(r"crls/[0-9a-f]{64}\.crl")

MAX_ARCHIVE = (1 << 32) - 1  # bytes: a zip without ZIP64 (APPNOTE.TXT 4.4.1.4)
MAX_PRODUCTS, MAX_CRLS = 1_000, 100  # files
MAX_RECORD_LINE = 256 * 1024  # bytes; evidence has at most 64 KiB, and a third more in base64
MAX_ENTRY_LINE = MAX_ENTRY + 64
MAX_SUBTREE_LINE = 128
MAX_INDEX = (1 << 53) - 1  # what JSON of RFC 8785 can say
MAX_OF = {  # bytes; of a file that is not named here, MAX_ARCHIVE
    README: 64 * 1024,
    CHECKPOINT: 64 * 1024,
    VKEY: 16 * 1024,
    ISSUERS: 1 << 20,
    FINDINGS: 64 << 20,
    PAGE: 16 << 20,
    MANIFEST: 1 << 20,
}
MAX_PRODUCT, MAX_CRL = 32_768, 64 << 20  # bytes
_ENTRY = re.compile(rb'\{"index":(0|[1-9][0-9]{0,15}),"entry":(\{.*\})\}', re.DOTALL)
_SUBTREE = re.compile(r"(0|[1-9][0-9]{0,15}) ([1-9][0-9]{0,15}) ([0-9a-f]{64})")
_ENCODER = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def product_name(digest: bytes) -> str:
    """Of the file of a product's revision."""
    return f"{_PRODUCTS}{digest.hex()}.toml"


def crl_name(digest: bytes) -> str:
    """Of the file of a CRL."""
    return f"{_CRLS}{digest.hex()}.crl"


def max_size(name: str) -> int:
    """How many bytes a file of this name may have."""
    if name.startswith(_PRODUCTS):
        return MAX_PRODUCT
    return MAX_CRL if name.startswith(_CRLS) else MAX_OF.get(name, MAX_ARCHIVE)


class Names:
    """Takes the names of an archive's files as they come. Each comes once, in the one order."""

    def __init__(self) -> None:
        self._before = list(_BEFORE)
        self._after = list(_AFTER)
        self._last = ""
        self._counts = {_PRODUCTS: 0, _CRLS: 0}
        self._came: set[str] = set()

    def take(self, name: str) -> None:
        """Raises Malformed: no file of this name comes here."""
        if name in self._came:
            raise Malformed(f"{_shown(name)} stands twice in the archive")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise Malformed(f"a path that leads out of the archive: {_shown(name)}")
        self._came.add(name)
        if self._before:
            if name != self._before.pop(0):
                raise _unexpected(name)
            return
        if self._after == list(_AFTER):
            for folder, form, most in ((_PRODUCTS, _PRODUCT, MAX_PRODUCTS), (_CRLS, _CRL, MAX_CRLS)):
                if form.fullmatch(name) is None:
                    continue
                came = (folder == _CRLS, name)
                if came <= (self._last.startswith(_CRLS), self._last) or self._counts[folder] == most:
                    raise _unexpected(name)
                self._counts[folder] += 1
                self._last = name
                return
        if not self._after or name != self._after.pop(0):
            raise _unexpected(name)

    def end(self) -> None:
        """Raises Malformed: files are missing."""
        missing = [*self._before, *self._after]
        if missing:
            raise Malformed(f"the archive has no {missing[0]}")


def _unexpected(name: str) -> Malformed:
    return Malformed(f"a file that no production file has here: {_shown(name)}")


def _shown(name: str) -> str:
    return name[:80].encode("ascii", "backslashreplace").decode()


def entry_line(index: int, entry: bytes) -> bytes:
    """A line of `entries.jsonl`: the entry's bytes stand in it as they are in the log."""
    return b'{"index":%d,"entry":%b}\n' % (index, entry)


def parse_entry_line(line: bytes) -> tuple[int, bytes]:
    """Index and bytes of an entry, from a line with its newline. Raises Malformed."""
    match = _ENTRY.fullmatch(line[:-1])
    if match is None or not line.endswith(b"\n"):
        raise Malformed("a line of entries.jsonl is not of its form")
    return int(match[1]), match[2]


@dataclass(frozen=True, slots=True)
class Subtree:
    """The hash over entries first…first+count-1, of which the archive has none. `count` is a power of two
    that divides `first`."""

    first: int
    count: int
    hash: bytes


def subtree_line(subtree: Subtree) -> bytes:
    """A line of `subtrees.txt`."""
    return b"%d %d %b\n" % (subtree.first, subtree.count, subtree.hash.hex().encode())


def parse_subtree_line(line: bytes) -> Subtree:
    """Raises Malformed."""
    match = _SUBTREE.fullmatch(line[:-1].decode("ascii", "replace"))
    if match is None or not line.endswith(b"\n"):
        raise Malformed("a line of subtrees.txt is not of its form")
    found = Subtree(int(match[1]), int(match[2]), bytes.fromhex(match[3]))
    if found.count.bit_count() != 1 or found.first % found.count:
        raise Malformed("a subtree of subtrees.txt that no tree has")
    return found


@dataclass(frozen=True, slots=True)
class RecordBytes:
    """What the ledger has digests of: of the certificate that entry `index` issued. Empty: there is none."""

    index: int
    attester: bytes  # SubjectPublicKeyInfo, DER
    certificate: bytes
    claims: bytes
    csr: bytes
    evidence: bytes
    settings: bytes
    stamp: bytes
    stamp_signature: bytes


_PARTS = tuple(item.name for item in fields(RecordBytes) if item.name != "index")


def record_line(record: RecordBytes) -> bytes:
    """A line of `records.jsonl`."""
    values: dict[str, Any] = {name: base64.b64encode(getattr(record, name)).decode() for name in _PARTS}
    return _ENCODER.encode(values | {"index": record.index}).encode() + b"\n"


def parse_record_line(line: bytes) -> RecordBytes:
    """Raises Malformed."""
    try:
        value = json.loads(line)
        if (
            not isinstance(value, dict)
            or value.keys() != {"index", *_PARTS}
            or type(value["index"]) is not int
        ):
            raise Malformed("a line of records.jsonl has other members")
        found = RecordBytes(
            value["index"], **{name: base64.b64decode(value[name], validate=True) for name in _PARTS}
        )
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise Malformed("a line of records.jsonl is not of its form") from error
    if record_line(found) != line:
        raise Malformed("a line of records.jsonl in another spelling than its one")
    return found


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file of the archive."""

    name: str
    size: int  # bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the archive is about, and the SHA-256 of its files."""

    deployment: str
    origin: str  # the log's name
    tree_size: int
    root: bytes
    as_of: str  # time of the newest entry of the tree
    order: str | None  # of this order, or of the time …
    begin: str | None  # … from here on, and before
    end: str | None
    whole: (
        tuple[int, int] | None
    )  # all entries from the first index up to, not including, the second are here
    records: bool  # False: made from tiles, which have none
    without_record: tuple[int, ...]  # indexes of `issued` entries whose record the log's holder did not give
    counts: Mapping[str, int]
    made_by: str  # the program
    files: tuple[FileDigest, ...]

    def data(self) -> bytes:
        """Canonical JSON (RFC 8785) and a newline."""
        return (
            rfc8785.dumps(
                {
                    "v": VERSION,
                    "kind": KIND,
                    "deployment": self.deployment,
                    "origin": self.origin,
                    "tree_size": self.tree_size,
                    "root": self.root.hex(),
                    "as_of": self.as_of,
                    "order": self.order,
                    "from": self.begin,
                    "to": self.end,
                    "whole": None if self.whole is None else list(self.whole),
                    "records": self.records,
                    "without_record": list(self.without_record),
                    "counts": dict(self.counts),
                    "made_by": self.made_by,
                    "files": [
                        {"name": item.name, "size": item.size, "sha256": item.sha256.hex()}
                        for item in self.files
                    ],
                }
            )
            + b"\n"
        )


def parse_manifest(data: bytes) -> Manifest:
    """Raises Malformed."""
    try:
        value = canonical_object(data.removesuffix(b"\n"))
    except CheckFailed as error:
        raise Malformed("manifest.json is not canonical JSON") from error
    if value.get("kind") != KIND:
        raise Malformed("manifest.json is not that of a production file")
    if value.get("v") != VERSION:
        raise Malformed(
            f"a production file of form {str(value.get('v'))[:20]}, and this auditor reads {VERSION}"
        )
    try:
        whole = value["whole"]
        found = Manifest(
            deployment=_text(value["deployment"]),
            origin=_text(value["origin"]),
            tree_size=_count(value["tree_size"]),
            root=bytes.fromhex(value["root"]),
            as_of=_text(value["as_of"]),
            order=_maybe(value["order"]),
            begin=_maybe(value["from"]),
            end=_maybe(value["to"]),
            whole=None if whole is None else _pair(whole),
            records=_boolean(value["records"]),
            without_record=tuple(_count(index) for index in value["without_record"]),
            counts={_text(name): _count(count) for name, count in value["counts"].items()},
            made_by=_text(value["made_by"]),
            files=tuple(
                FileDigest(_text(item["name"]), _count(item["size"]), bytes.fromhex(item["sha256"]))
                for item in value["files"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("manifest.json has not the members of form 1") from error
    if found.data() != data or (found.order is None) == (found.begin is None):
        raise Malformed("manifest.json has not the members of form 1")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _maybe(value: object) -> str | None:
    return None if value is None else _text(value)


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INDEX:
        raise TypeError
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _pair(value: Sequence[object]) -> tuple[int, int]:
    first, second = value
    return _count(first), _count(second)


def lines(chunks: Iterator[bytes], most: int, name: str) -> Iterator[bytes]:
    """Lines with their newlines, of a file that comes in chunks. Raises Malformed: one has more than `most`
    bytes, or the last one has no newline."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if len(line) >= most:
                raise Malformed(f"{name} has a line of more than {most} bytes")
            yield line + b"\n"
        if len(rest) >= most:
            raise Malformed(f"{name} has a line of more than {most} bytes")
    if rest:
        raise Malformed(f"{name} ends within a line")


def parse_finding_line(line: bytes) -> bool:
    """A finding of the auditor who made the archive: whether somebody gave a reason for it. Raises
    Malformed."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value["acknowledged"], list) or "code" not in value:
            raise Malformed("a line of findings.jsonl has other members")
    except (ValueError, KeyError, RecursionError) as error:
        raise Malformed("a line of findings.jsonl is not of its form") from error
    return bool(value["acknowledged"])
