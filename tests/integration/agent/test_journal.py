"""The journal: one contract over the one in memory and the one on disk; then what only the disk can show."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.report import newest_entry, read_report
from agent.adapters.journal.store import SqliteJournal
from agent.core.result import Outcome, Result, StepTime
from agent.errors import ConfigError, JournalError
from agent.ports import BoardStamp, Journal, QueuedStamp, Receipt
from harness.agent_world import MemoryJournal

RESULT = Result(
    port="port-1",
    work_order="WO-1",
    chip_id="CHIP-1",
    serial_number="BM-000001",
    certificate_sha256="aa" * 32,
    outcome=Outcome.PASS,
    step="record",
    code="",
    detail="",
    remedy="",
    seconds=2.0,
    times=(StepTime("keygen", 1.5),),
)
PARKED = replace(RESULT, outcome=Outcome.PARKED, code="signer_unavailable")
RECEIPT = Receipt(7, b'{"type":"stamped"}', b"proof")


def stamp(number: int = 1) -> QueuedStamp:
    return QueuedStamp(
        "WO-1", f"CHIP-{number}", f"BM-{number}", bytes([number]) * 32, b"s", BoardStamp(b"stamp", b"sig")
    )


@pytest.fixture(name="path")
def make_path(tmp_path: Path) -> Path:
    path = tmp_path / journal_schema.FILE_NAME
    journal_schema.create(path)
    return path


@pytest.fixture(name="journal", params=["memory", "sqlite"])
async def open_journal(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    async with SqliteJournal(path) as journal:
        yield journal


async def test_the_last_board_of_a_port_is_known(journal: Journal) -> None:
    assert await journal.last_on("port-1") is None
    first = await journal.begin("port-1", "WO-1", "CHIP-1")
    assert await journal.last_on("port-1") is None, "it is under way"
    await journal.finish(first, RESULT)
    nobody = await journal.begin("port-1", "WO-1", "")
    await journal.finish(nobody, replace(RESULT, chip_id="", outcome=Outcome.FAIL, code="no_answer"))
    other = await journal.begin("port-2", "WO-1", "CHIP-2")
    await journal.finish(other, replace(RESULT, port="port-2", chip_id="CHIP-2", outcome=Outcome.FAIL))
    assert await journal.last_on("port-1") == ("CHIP-1", "PASS")
    assert await journal.last_on("port-2") == ("CHIP-2", "FAIL")
    assert await journal.last_on("port-3") is None


async def test_runs_have_numbers_of_their_own(journal: Journal) -> None:
    first = await journal.begin("port-1", "WO-1", "CHIP-1")
    second = await journal.begin("port-2", "WO-1", "CHIP-2")
    assert first != second
    assert first > 0


async def test_outbox_keeps_order_and_content(journal: Journal) -> None:
    run = await journal.begin("port-1", "WO-1", "CHIP-1")
    for number in (2, 1, 3):
        await journal.queue_stamp(run, stamp(number))
    assert await journal.queued_stamps() == (stamp(2), stamp(1), stamp(3))


async def test_the_same_stamp_is_queued_once(journal: Journal) -> None:
    run = await journal.begin("port-1", "WO-1", "CHIP-1")
    await journal.queue_stamp(run, stamp())
    await journal.queue_stamp(run, stamp())
    assert await journal.queued_stamps() == (stamp(),)


async def test_answered_stamps_leave(journal: Journal) -> None:
    run = await journal.begin("port-1", "WO-1", "CHIP-1")
    for number in (1, 2, 3):
        await journal.queue_stamp(run, stamp(number))
    await journal.stamp_recorded(stamp(1), RECEIPT)
    await journal.stamp_refused(stamp(2), "stamp_conflict", "look")
    assert await journal.queued_stamps() == (stamp(3),)
    await journal.stamp_recorded(stamp(1), RECEIPT)  # told twice
    assert await journal.queued_stamps() == (stamp(3),)


@pytest.fixture(name="disk")
async def open_disk(path: Path) -> AsyncIterator[SqliteJournal]:
    async with SqliteJournal(path) as journal:
        yield journal


async def test_report_beside_a_running_station(disk: SqliteJournal, path: Path) -> None:
    run = await disk.begin("port-1", "WO-1", "CHIP-1")
    disk.step_done(run, "keygen", 1.5)
    await disk.finish(run, RESULT)
    await disk.begin("port-2", "WO-1", "CHIP-2")
    report = read_report(path)
    assert (report.summary.passed, report.summary.yield_percent) == (1, 100.0)
    assert report.summary.step_median_s == {"keygen": 1.5}
    assert [under_way.chip_id for under_way in report.under_way] == ["CHIP-2"]
    assert newest_entry(path) is None


@pytest.mark.parametrize("code", ["", "stamp_conflict"])
async def test_parked_run_follows_its_stamp(disk: SqliteJournal, path: Path, code: str) -> None:
    run = await disk.begin("port-1", "WO-1", "CHIP-1")
    await disk.queue_stamp(run, stamp())
    await disk.finish(run, PARKED)
    assert [open_stamp.serial_number for open_stamp in read_report(path).open_stamps] == ["BM-1"]
    if code:
        await disk.stamp_refused(stamp(), code, "look")
    else:
        await disk.stamp_recorded(stamp(), RECEIPT)
    report = read_report(path)
    assert report.open_stamps == ()
    assert (report.summary.passed, report.summary.failed) == ((0, 1) if code else (1, 0))
    assert report.refused_stamps == ((("BM-1", code),) if code else ())
    assert newest_entry(path) == (None if code else RECEIPT.entry)


async def test_run_that_was_cut_off_is_parked_by_the_next_on_its_port(
    disk: SqliteJournal, path: Path
) -> None:
    await disk.begin("port-1", "WO-1", "CHIP-1")
    await disk.begin("port-1", "WO-1", "CHIP-2")
    report = read_report(path)
    assert [run.chip_id for run in report.under_way] == ["CHIP-2"]
    assert report.summary.codes == {"interrupted": 1}


async def test_a_look_at_a_port_in_vain_ends_no_run_on_it(disk: SqliteJournal, path: Path) -> None:
    """Another program of the same station may have the port, and its board under way."""
    await disk.begin("port-1", "WO-1", "CHIP-1")
    await disk.begin("port-1", "WO-1", "")
    report = read_report(path)
    assert [run.chip_id for run in report.under_way] == ["CHIP-1", ""]
    assert report.summary.codes == {}


async def test_old_runs_go_but_not_their_stamps(path: Path) -> None:
    async with SqliteJournal(path, kept_runs=10) as journal:
        first = await journal.begin("p", "WO-1", "CHIP-0")
        await journal.queue_stamp(first, stamp())
        await asyncio.gather(*(journal.begin(f"p{n}", "WO-1", f"CHIP-{n}") for n in range(1, 1_000)))
        assert await journal.queued_stamps() == (stamp(),)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (11,)
    connection.close()


async def test_no_journal_is_never_made_by_the_station(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no journal") as caught:
        async with SqliteJournal(tmp_path / "none.sqlite"):
            pass
    assert not (tmp_path / "none.sqlite").exists()
    assert "enroll" in caught.value.remedy


async def test_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"something else entirely, and long enough for a header" * 20)
    with pytest.raises(JournalError):
        async with SqliteJournal(path):
            pass
    with pytest.raises(JournalError):
        journal_schema.create(path)


async def test_journal_of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="version 99"):
        async with SqliteJournal(path):
            pass


async def test_label_is_noted_once(journal: Journal) -> None:
    first, second = await journal.begin("port-1", "WO-1", "A"), await journal.begin("port-2", "WO-1", "B")
    assert not await journal.has_label(bytes(32))
    await journal.note_label(first, bytes(32))
    await journal.note_label(second, bytes(32))
    assert await journal.has_label(bytes(32))
    assert not await journal.has_label(bytes([1]) * 32)


async def test_label_is_known_after_a_restart(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.note_label(await journal.begin("port-1", "WO-1", "A"), bytes(32))
    async with SqliteJournal(path) as journal:
        assert await journal.has_label(bytes(32))


async def test_time_of_a_step_is_the_last_that_was_told(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        run = await journal.begin("port-1", "WO-1", "A")
        journal.step_done(run, "flash", 1.0)
        journal.step_done(run, "flash", 3.0)
        await journal.finish(run, replace(RESULT, outcome=Outcome.FAIL, step="flash"))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT run, step, seconds FROM step").fetchall() == [(run, "flash", 3.0)]
    connection.close()


async def test_making_it_twice_keeps_what_is_there(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.queue_stamp(await journal.begin("p", "WO-1", "C"), stamp())
    journal_schema.create(path)
    async with SqliteJournal(path) as journal:
        assert await journal.queued_stamps() == (stamp(),)


async def test_closed_journal_says_so(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        pass
    with pytest.raises(JournalError):
        await journal.begin("p", "WO-1", "C")


_WRITER = """
import asyncio, sys
from pathlib import Path
from agent.adapters.journal.store import SqliteJournal
from agent.ports import BoardStamp, QueuedStamp
async def write():
    async with SqliteJournal(Path(sys.argv[1])) as journal:
        for number in range(100_000):
            run = await journal.begin("p", "WO", f"C{number}")
            await journal.queue_stamp(
                run,
                QueuedStamp("WO", f"C{number}", "S", number.to_bytes(32, "big"), b"s", BoardStamp(b"x", b"y"))
            )
            print(number, flush=True)
asyncio.run(write())
"""


def write_until_killed(path: Path) -> list[int]:
    """Numbers of the stamps that the journal took, as far as it could say so."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    said = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    writer.stdout.close()
    return said


async def test_killed_it_has_what_it_said_it_has(path: Path) -> None:
    said = await asyncio.to_thread(write_until_killed, path)
    async with SqliteJournal(path) as journal:
        kept = {queued.chip_id for queued in await journal.queued_stamps()}
    assert {f"C{number}" for number in said} <= kept
