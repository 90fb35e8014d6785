"""Runs that end before their end: what was verified is kept, and the next run goes on from there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import pytest

from auditor import ledger, reread
from auditor.adapters.schema import VERSION
from auditor.adapters.state import FILE, SqliteState
from auditor.errors import Unreachable
from auditor.ports import Stage
from auditor.verify import Report
from harness.audit_bench import bench, opened
from harness.paper_log import PaperLog
from harness.paper_server import PaperService

BOARDS, CHUNK = 40, 16


@pytest.fixture(scope="module")
def log() -> PaperLog:
    """Forty boards, each stamped; the entries of one lie in two chunks."""
    made = opened(quantity=BOARDS)
    made.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        made.stamp(made.issue(number))
    return made


class DiskThatEndsError(Exception):
    """The process died here."""


class _Dying:
    """A state whose process dies before or after its n-th commit."""

    def __init__(self, state: SqliteState, at: int, *, after: bool) -> None:
        self._state, self._at, self._after, self.commits = state, at, after, 0

    def transaction(self) -> Any:
        return self

    def __enter__(self) -> None:
        self._inner = type(self._state).transaction(self._state)
        self._inner.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self.commits += error is None
        dies = error is None and self.commits == self._at
        if dies and not self._after:
            death = DiskThatEndsError()
            self._inner.__exit__(DiskThatEndsError, death, None)
            raise death
        ended = self._inner.__exit__(kind, error, trace)
        if dies:
            raise DiskThatEndsError
        return ended


def _seen(report: Report) -> tuple[object, ...]:
    """What does not depend on how many runs it took."""
    return (report.head, report.totals, report.bases, report.orders, report.findings)


def _whole(log: PaperLog, directory: Path) -> tuple[object, ...]:
    with bench(log, directory, chunk=CHUNK) as made:
        return _seen(made.verify())


def _commits(log: PaperLog, directory: Path) -> int:
    with bench(log, directory, chunk=CHUNK) as made:
        dying = _Dying(made.state, 0, after=False)
        made.state.transaction = dying.transaction  # type: ignore[method-assign]
        assert made.verify().clean
        return dying.commits


@pytest.mark.check
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_each_commit(log: PaperLog, tmp_path: Path, *, after: bool) -> None:
    expected = _whole(log, tmp_path / "whole")
    commits = _commits(log, tmp_path / "counted")
    assert commits > 5  # six chunks, and what records there are
    for at in range(1, commits + 1):
        directory = tmp_path / f"{at}"
        with bench(log, directory, chunk=CHUNK) as made:
            dying = _Dying(made.state, at, after=after)
            made.state.transaction = dying.transaction  # type: ignore[method-assign]
            with pytest.raises(DiskThatEndsError):
                made.verify()
        with bench(log, directory, chunk=CHUNK) as made:
            report = made.verify()
            assert _seen(report) == expected, at
            assert made.verify().resumed is Stage.WHOLE


def test_a_stream_that_breaks_keeps_the_chunks_before_it(log: PaperLog, tmp_path: Path) -> None:
    with bench(log, tmp_path / "broken", service := _Breaking(log, at=50), chunk=CHUNK) as made:
        with pytest.raises(Unreachable):
            made.verify()
        kept = made.state.kept()
        assert kept is not None
        assert (kept.frontier.size, kept.stage) == (48, Stage.ENTRIES)
        service.at = None
        report = made.verify()
    assert report.clean
    assert (report.start, report.resumed) == (48, Stage.ENTRIES)
    assert _seen(report) == _whole(log, tmp_path / "whole")


class _Breaking(PaperService):
    """Breaks off in the stream that comes to this entry, or in this page of records."""

    def __init__(self, log: PaperLog, at: int | None = None, page: int | None = None) -> None:
        super().__init__(log)
        self.at, self.page = at, page

    def StreamEntries(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        if self.at is not None and request.start <= self.at < request.end:
            context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        yield from super().StreamEntries(request, context)

    def FindRecords(self, request: Any, context: Any) -> Any:  # noqa: N802
        request.page_size = 10
        if self.page is not None and request.after_record_id >= self.page * 10:
            context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        return super().FindRecords(request, context)


def test_records_that_break_off_are_not_asked_for_again(log: PaperLog, tmp_path: Path) -> None:
    with bench(log, tmp_path, service := _Breaking(log, page=2)) as made:
        with pytest.raises(Unreachable):
            made.verify()
        kept = made.state.kept()
        assert kept is not None
        assert (kept.stage, kept.record_id) == (Stage.RECORDS, 20)
        service.page = None
        report = made.verify()
        assert report.clean
        assert (report.records, report.resumed) == (BOARDS - 20, Stage.RECORDS)


def test_from_scratch_that_breaks_off_still_passes_through_the_checkpoint_of_before(
    log: PaperLog, tmp_path: Path
) -> None:
    with bench(log, tmp_path, service := _Breaking(log), chunk=CHUNK) as made:
        made.verify()
        service.at = 50
        with pytest.raises(Unreachable):
            made.verify(from_scratch=True)
        passing = made.state.passing()
        assert passing is not None
        assert passing.size == log.tree.size
        service.at = None
        assert made.verify().clean
        assert made.state.passing() is None


def test_a_chunk_that_is_not_proven_is_not_kept(log: PaperLog, tmp_path: Path) -> None:
    def change(entries: list[bytes]) -> list[bytes]:
        entries[40] = entries[40].replace(b"2026", b"2027")
        return entries

    with bench(log, tmp_path, chunk=CHUNK) as made:
        log.lie_entries = change
        assert made.codes() == [("ENTRY_NOT_IN_TREE", 40)]
        kept = made.state.kept()
        assert kept is not None
        assert kept.frontier.size == 32
        log.lie_entries = lambda entries: entries
        assert [item.finding.index for item in made.verify().findings] == [40]  # it stays


def test_chunks_and_held_bundles_end_by_their_bytes_too(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _whole(log, tmp_path / "whole")
    monkeypatch.setattr(ledger, "CHUNK_BYTES", 8_000)
    monkeypatch.setattr(reread, "_HELD_BYTES", 1)
    with bench(log, tmp_path / "small") as made:
        sizes: list[int] = []
        made.audit._progress = lambda phase, done, _total: sizes.append(done) if phase == "entries" else None
        assert _seen(made.verify()) == expected
        assert len(sizes) > 3
        reader = reread.Reader(made.grpc_log, made.state)
        first = reader.bundle(0)
        reader._bundles = {7: first}  # another one, as large
        reader.bundle(0)
        assert list(reader._bundles) == [0]


def test_marks_of_a_run_that_died_are_removed(log: PaperLog, tmp_path: Path) -> None:
    with bench(log, tmp_path, chunk=CHUNK) as made:
        made.verify()
    stray = tmp_path / "marks" / "run-0000"
    stray.write_bytes(b"half a run")
    with SqliteState.open(tmp_path) as state:
        assert stray.exists()  # it may be of a process that is just writing
        with state.transaction():
            assert not stray.exists()


def test_a_state_that_is_brought_over_is_whole_or_of_before(tmp_path: Path) -> None:
    before = tmp_path / (FILE + ".new")
    before.write_bytes(b"half a file")
    with SqliteState.open(tmp_path):
        assert not before.exists()
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()
