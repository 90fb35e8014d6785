"""The journal after kill -9, with values that SQLite does not take, and refusals that were settled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.report import read_report
from agent.adapters.journal.store import SqliteJournal
from agent.core.result import Outcome, Result
from agent.errors import JournalError
from agent.ports import BoardStamp, QueuedStamp, Receipt

STAMP = QueuedStamp("WO-1", "CHIP-1", "BM-1", bytes([7]) * 32, b"s", BoardStamp(b"stamp", b"sig"))
RECEIPT = Receipt(7, b'{"type":"stamped"}', b"proof")


@pytest.fixture(name="path")
def make_path(tmp_path: Path) -> Path:
    path = tmp_path / journal_schema.FILE_NAME
    journal_schema.create(path)
    return path


@pytest.mark.parametrize(
    ("code", "counts"), [("", (1, 0, 0)), ("stamp_conflict", (0, 1, 0)), (None, (0, 0, 1))]
)
async def test_stamp_that_was_answered_after_the_cut_decides_how_the_run_ended(
    path: Path, code: str | None, counts: tuple[int, int, int]
) -> None:
    async with SqliteJournal(path) as journal:
        await journal.queue_stamp(await journal.begin("port-1", "WO-1", "CHIP-1"), STAMP)
    async with SqliteJournal(path) as journal:  # the outbox is faster than the next board
        if code:
            await journal.stamp_refused(STAMP, code, "")
        elif code is not None:
            await journal.stamp_recorded(STAMP, RECEIPT)
        await journal.begin("port-1", "WO-1", "CHIP-2")
    summary = read_report(path).summary
    assert (summary.passed, summary.failed, summary.parked) == counts


async def test_value_that_sqlite_cannot_hold_ends_its_caller_and_no_other(path: Path) -> None:
    async with SqliteJournal(path) as journal, asyncio.timeout(20):
        with pytest.raises(JournalError):
            await journal.begin("/dev/tty\udcff", "WO-1", "CHIP-1")  # a file name that is not UTF-8
        assert await journal.begin("port-1", "WO-1", "CHIP-1") == 1


async def test_run_that_failed_because_signerd_could_not_answer_passes_with_its_receipt(path: Path) -> None:
    failed = Result(
        "port-1", "WO-1", "CHIP-1", "BM-1", "", Outcome.FAIL, "record", "internal", "", "", 1.0, ()
    )
    async with SqliteJournal(path) as journal:
        run = await journal.begin("port-1", "WO-1", "CHIP-1")
        await journal.queue_stamp(run, STAMP)
        await journal.finish(run, failed)
        await journal.stamp_recorded(STAMP, RECEIPT)
    assert read_report(path).summary.passed == 1


async def test_refusal_is_named_until_a_later_stamp_of_the_board_is_recorded(path: Path) -> None:
    later = replace(STAMP, stamp=BoardStamp(b"another", b"sig"))
    async with SqliteJournal(path) as journal:
        await journal.queue_stamp(await journal.begin("port-1", "WO-1", "CHIP-1"), STAMP)
        await journal.stamp_refused(STAMP, "session_unknown", "")
        await journal.queue_stamp(await journal.begin("port-1", "WO-1", "CHIP-1"), later)
        assert read_report(path).refused_stamps == (("BM-1", "session_unknown"),)
        await journal.stamp_recorded(later, RECEIPT)
    assert read_report(path).refused_stamps == ()


async def test_refused_stamps_outlive_the_runs_that_go(path: Path) -> None:
    async with SqliteJournal(path, kept_runs=1) as journal:
        await journal.queue_stamp(await journal.begin("port-1", "WO-1", "CHIP-1"), STAMP)
        await journal.stamp_refused(STAMP, "stamp_conflict", "")
        for _ in range(1_000):
            await journal.begin("port-1", "WO-1", "")
    assert read_report(path).refused_stamps == (("BM-1", "stamp_conflict"),)
