"""Tiles instead of signerd, in a folder or at an address: the same findings of entries, none of records."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from auditor.adapters.state import SqliteState
from auditor.adapters.tile_log import TileLog
from auditor.adapters.workers import Workers
from auditor.core.codes import Code
from auditor.errors import ConfigError, Unreachable
from auditor.verify import Audit, Report
from harness.audit_bench import LATER, bench, opened, pinned
from harness.paper_log import PaperLog
from harness.paper_tiles import files_of, write_tiles

BOARDS, CHUNK = 140, 64


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def log() -> PaperLog:
    """With an entry that breaks a rule."""
    made = opened(quantity=BOARDS)
    made.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        made.stamp(made.issue(number))
    made.append_raw(made.entries[-2])
    return made


@pytest.fixture
def folder(log: PaperLog, tmp_path: Path) -> Path:
    write_tiles(tmp_path / "tiles", files_of(log.entries), log.checkpoint())
    return tmp_path / "tiles"


def _verify(log: PaperLog, place: str, state: Path, *, from_scratch: bool = False) -> Report:
    with SqliteState.open(state) as kept, Workers(1, None) as judges:
        audit = Audit(
            TileLog(place),
            kept,
            pinned(log),
            clock=lambda: LATER,
            progress=lambda _phase, _done, _total: None,
            judges=judges,
            share=1.0,
            chunk=CHUNK,
        )
        return audit.run(from_scratch=from_scratch)


def test_every_source_has_the_same_findings(log: PaperLog, folder: Path, tmp_path: Path) -> None:
    with bench(log, tmp_path / "grpc", chunk=CHUNK) as made:
        by_signerd = made.verify()
    by_folder = _verify(log, str(folder), tmp_path / "folder")
    with served(folder) as address:
        by_address = _verify(log, address, tmp_path / "address")
    of_signerd = {Code.RECORD_DIFFERS, Code.ORDER_TERMS}  # the entry that breaks a rule has no record
    of_entries = tuple(found for found in by_signerd.new if found.code not in of_signerd)
    assert by_folder.new == by_address.new == of_entries
    assert {finding.code.name for finding in by_folder.new} >= {"KEY_TWICE", "VALUE_REUSED"}
    assert by_folder.totals == by_signerd.totals
    assert (by_folder.without_records, by_folder.records) == (True, 0)
    assert not by_signerd.without_records


def test_records_are_verified_once_signerd_is_asked(log: PaperLog, folder: Path, tmp_path: Path) -> None:
    _verify(log, str(folder), tmp_path / "state")
    with bench(log, tmp_path / "state", chunk=CHUNK) as made:
        assert made.verify().records == BOARDS + 1  # one is in two entries


def test_from_scratch_over_tiles_keeps_what_only_records_show(tmp_path: Path) -> None:
    log = opened(quantity=1)
    log.personalize(1)
    log.issue(1)
    csr = log.records[0].csr_der
    log.records[0].csr_der = csr[:-1] + bytes([csr[-1] ^ 1])
    write_tiles(tmp_path / "tiles", files_of(log.entries), log.checkpoint())
    with bench(log, tmp_path / "state") as made:
        assert made.codes() == [("CSR", 6)]
    report = _verify(log, str(tmp_path / "tiles"), tmp_path / "state", from_scratch=True)
    assert [kept.finding.code.name for kept in report.findings] == ["CSR"]
    log.records[0].csr_der = csr
    with bench(log, tmp_path / "state") as made:
        assert made.verify().clean  # judged again, and not found


@pytest.mark.parametrize("index", [3, 200])
def test_a_bundle_that_was_altered_after_it_was_verified(
    log: PaperLog, folder: Path, tmp_path: Path, index: int
) -> None:
    _verify(log, str(folder), tmp_path / "state")
    doctored = list(log.entries)
    doctored[index] = doctored[index].replace(b"2026-11", b"2026-12")
    for path, data in files_of(doctored).items():
        if path.startswith("tile/entries/"):
            (folder / path).write_bytes(data)
    (finding,) = _verify(log, str(folder), tmp_path / "state").new
    assert (finding.code.name, finding.index) == ("ENTRY_NOT_IN_TREE", index)


def test_a_tile_that_is_missing_or_no_tile(log: PaperLog, folder: Path, tmp_path: Path) -> None:
    bundle = folder / "tile" / "entries" / "000"
    whole = bundle.read_bytes()
    bundle.unlink()
    with pytest.raises(Unreachable, match="as a whole"):
        _verify(log, str(folder), tmp_path / "missing")
    bundle.write_bytes(whole[:-1])
    (finding,) = _verify(log, str(folder), tmp_path / "cut").new
    assert finding.code.name == "ANSWER_MALFORMED"


def test_a_place_that_is_none(tmp_path: Path) -> None:
    for place in ("ftp://log.example/", str(tmp_path / "nothing")):
        with pytest.raises(ConfigError, match="give"):
            TileLog(place)
    with served(tmp_path) as address, pytest.raises(Unreachable, match="has no checkpoint"):
        TileLog(address).checkpoint()
