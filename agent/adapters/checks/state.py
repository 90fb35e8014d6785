"""The journal and what waits in it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from agent.adapters.checks.finding import Examined
from agent.adapters.journal.report import read_report
from agent.adapters.journal.schema import FILE_NAME, check_whole, journal_fault, open_for_writing
from agent.errors import JournalError, NotedError


async def journal(station: Examined) -> str:
    """It is there, whole, and can be written."""
    return await asyncio.to_thread(_journal, station.config.state)


async def outbox(station: Examined) -> str:
    """No stamp waits, and none was refused. Raises NotedError: they hold no board up."""
    report = await asyncio.to_thread(read_report, station.config.state / FILE_NAME)
    if report.refused_stamps:
        serial_number, code = report.refused_stamps[-1]
        remedy = "Find these boards: birthmark-agent status. Each is certified and not accounted for."
        detail = f"{len(report.refused_stamps)} stamps were refused, the last of {serial_number}: {code}"
        raise NotedError(detail, remedy=remedy)
    if report.open_stamps:
        remedy = "They are sent while birthmark-agent run is running and signerd answers."
        raise NotedError(f"{len(report.open_stamps)} stamps wait for signerd", remedy=remedy)
    return "empty"


def _journal(state: Path) -> str:
    path = state / FILE_NAME
    check_whole(path)
    connection = open_for_writing(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise journal_fault(path, "write", error) from error
    finally:
        connection.close()
    if not os.access(state, os.W_OK):  # WAL makes files beside the journal
        raise JournalError(f"cannot write into {state}")
    return str(path)
