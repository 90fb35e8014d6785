"""Readers of a production file: its zip, its manifest over honest files, and the lines of each file."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from auditor.adapters.report.archive_file import Archive
from auditor.adapters.report.verifying import Trusted, verify_opened
from auditor.adapters.workers import Workers
from auditor.core.report import form
from auditor.errors import CheckFailed, Malformed
from harness.production_files import Files, files_of, four_boards, no_progress, pack, production_file, trusted


@cache
def _honest() -> tuple[Files, Trusted]:
    log = four_boards()
    with tempfile.TemporaryDirectory() as folder:
        return files_of(production_file(log, Path(folder))), trusted(log)


@cache
def _archive() -> bytes:
    return _packed(_honest()[0])


def _packed(files: Files) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return pack(Path(folder) / "order.zip", files).read_bytes()


def production_file_of(data: bytes) -> None:
    """The whole file, as `report --verify` takes it."""
    with (
        contextlib.suppress(Malformed, CheckFailed),
        Archive(io.BytesIO(data)) as archive,
        Workers(1, None) as judges,
    ):
        verify_opened(archive, _honest()[1], judges, no_progress)


def manifest(data: bytes) -> None:
    """In the place of an honest file's manifest."""
    with contextlib.suppress(Malformed):
        form.parse_manifest(data)  # most inputs end here, and packing costs more
        production_file_of(_packed(_honest()[0] | {form.MANIFEST: data}))


def lines(data: bytes) -> None:
    """Each kind of line. What is taken has one spelling."""
    with contextlib.suppress(Malformed):
        index, entry = form.parse_entry_line(data)
        assert form.entry_line(index, entry) == data
    with contextlib.suppress(Malformed):
        assert form.subtree_line(form.parse_subtree_line(data)) == data
    with contextlib.suppress(Malformed):
        assert form.record_line(form.parse_record_line(data)) == data
    with contextlib.suppress(Malformed):
        form.parse_finding_line(data)


def _manifests() -> list[bytes]:
    """Honest, of an order and of a time, and one that names no entries."""
    files, _ = _honest()
    value = json.loads(files[form.MANIFEST])
    of_time: dict[str, Any] = {"order": None, "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}
    kinds: list[dict[str, Any]] = [
        {}, {"whole": [4, value["tree_size"]]}, of_time | {"whole": [0, value["tree_size"]]},
        of_time | {"whole": [value["tree_size"]] * 2}, {"records": False}, {"without_record": [5]},
    ]  # fmt: skip
    return [
        json.dumps(value | kind, sort_keys=True, separators=(",", ":")).encode() + b"\n" for kind in kinds
    ]


def _lines() -> list[bytes]:
    files, _ = _honest()
    names = (form.ENTRIES, form.SUBTREES, form.RECORDS, form.FINDINGS)
    found = [files[name].splitlines(keepends=True)[:2] for name in names]
    return [line for each in found for line in each]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "production-file": (production_file_of, lambda: [_archive()]),
    "production-manifest": (manifest, _manifests),
    "production-lines": (lines, _lines),
}
