"""Reads the journal beside a running station: counts, yield, times, runs under way, stamps that wait."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.journal.schema import journal_fault, open_for_reading
from agent.core.port_names import by_place
from agent.core.result import Outcome, Result, StepTime, Summary, summarize

_RECENT = 10_000  # boards that the summary is made of
# A refusal is over when a later stamp of that board was recorded: somebody has found it.
_REFUSED = (
    "SELECT serial_number, code FROM outbox AS refused WHERE code <> '' AND NOT EXISTS (SELECT 1 FROM outbox"
    " WHERE outbox.serial_number = refused.serial_number AND outbox.id > refused.id"
    " AND outbox.entry IS NOT NULL) ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A run without an end: on a port now, or cut off."""

    port: str
    work_order: str
    chip_id: str
    started_at: str


@dataclass(frozen=True, slots=True)
class OpenStamp:
    """A stamp that signerd has not answered."""

    work_order: str
    chip_id: str
    serial_number: str
    queued_at: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that `status` shows."""

    summary: Summary
    under_way: tuple[UnderWay, ...]
    open_stamps: tuple[OpenStamp, ...]
    refused_stamps: tuple[tuple[str, str], ...]  # serial number, code


def read_report(path: Path) -> Report:
    """Reads it. Raises ConfigError where there is no journal, JournalError where it is unusable."""
    connection = open_for_reading(path)
    try:
        return Report(
            summarize(_recent_results(connection)),
            _under_way(connection),
            tuple(
                OpenStamp(*row)
                for row in connection.execute(
                    "SELECT work_order, chip_id, serial_number, queued_at FROM outbox"
                    " WHERE answered_at IS NULL ORDER BY id"
                )
            ),
            tuple(connection.execute(_REFUSED)),
        )
    except sqlite3.Error as error:
        raise journal_fault(path, "read", error) from error
    finally:
        connection.close()


def _under_way(connection: sqlite3.Connection) -> tuple[UnderWay, ...]:
    rows = connection.execute("SELECT port, work_order, chip_id, started_at FROM run WHERE ended_at IS NULL")
    return tuple(sorted((UnderWay(*row) for row in rows), key=lambda run: by_place(run.port)))


def newest_entry(path: Path) -> bytes | None:
    """The ledger entry of the last stamp that signerd recorded, or None. Raises as `read_report` does."""
    connection = open_for_reading(path)
    try:
        sql = "SELECT entry FROM outbox WHERE entry IS NOT NULL ORDER BY answered_at DESC LIMIT 1"
        row = connection.execute(sql).fetchone()
    except sqlite3.Error as error:
        raise journal_fault(path, "read", error) from error
    finally:
        connection.close()
    return None if row is None else row[0]


def _recent_results(connection: sqlite3.Connection) -> list[Result]:
    rows = connection.execute(
        "SELECT id, port, work_order, chip_id, serial_number, certificate_sha256, outcome, step, code,"
        " detail, remedy, seconds FROM run WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT ?",
        (_RECENT,),
    ).fetchall()
    times: dict[int, list[StepTime]] = {}
    if rows:
        for run, step, seconds in connection.execute(
            "SELECT run, step, seconds FROM step WHERE run >= ?", (rows[-1][0],)
        ):
            times.setdefault(run, []).append(StepTime(step, seconds))
    return [
        Result(
            port=row[1],
            work_order=row[2],
            chip_id=row[3],
            serial_number=row[4],
            certificate_sha256=row[5],
            outcome=Outcome(row[6]),
            step=row[7],
            code=row[8],
            detail=row[9],
            remedy=row[10],
            seconds=row[11],
            times=tuple(times.get(row[0], ())),
        )
        for row in rows
    ]
