"""The folder `state`, the journal in it, and what waits there."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.checks.enrolment import own_name
from agent.adapters.checks.finding import Examined
from agent.adapters.journal.owner import check_owner
from agent.adapters.journal.report import read_report
from agent.adapters.journal.schema import (
    CHECKED_S,
    FILE_NAME,
    check_whole,
    journal_fault,
    open_for_writing,
)
from agent.adapters.shown.live_state import read_live
from agent.config import Config
from agent.errors import ConfigError, JournalError, NotedError

_ROOM = 256 << 10  # bytes that are tried: what the journal takes for some hundred boards
_MAKE_ROOM = "Make room on that disk, or name a folder on another one: `state` in agent.toml."
_READ_ONLY = (
    "Make that disk writable again: a system mounts one read-only when it fails. Look at its log first."
)
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: "Make room within this user's quota, or have it raised.",
    errno.EFBIG: "Raise the limit of file sizes for this program (Linux: ulimit -f, LimitFSIZE).",
    errno.EROFS: _READ_ONLY,
}
_ALONE = (
    "Give each station a folder of its own: `state` in agent.toml. birthmark-agent enroll --install makes"
    " a journal there."
)
_MIB = 1 << 20


async def journal(station: Examined) -> str:
    """It is this station's alone, there, whole, and can be written."""
    return await asyncio.to_thread(_journal, station.config, named="certificate" not in station.broken)


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


def _journal(config: Config, *, named: bool) -> str:
    """`named`: the certificate says who this station is."""
    state = config.state
    path = state / FILE_NAME
    check_alone(config)
    if state.is_dir():  # else the journal says so
        _check_room(state)
    whole = check_whole(path)
    if named:
        check_owner(path, own_name(config).uri)
    connection = open_for_writing(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise journal_fault(path, "write", error) from error
    finally:
        connection.close()
    if not whole:
        mib = path.stat().st_size / _MIB
        return f"{path}: {mib:,.0f} MiB, of which as much is whole as could be read in {CHECKED_S:g} s"
    return str(path)


def check_alone(config: Config) -> None:
    """Raises ConfigError while another station works in this folder: it would send this one's stamps."""
    live = read_live(config.state, datetime.now(UTC))
    if live is None or not live.alive or live.pid == os.getpid():
        return
    there = live.state.get("certificate")
    if isinstance(there, str) and there != str(config.signerd.certificate.resolve()):
        detail = f"another station works in {config.state} (pid {live.pid}, {there})"
        raise ConfigError(detail, remedy=_ALONE)


def _check_room(state: Path) -> None:
    """Raises JournalError unless a file can be written there, and is on the disk."""
    try:
        with tempfile.TemporaryFile(dir=state) as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        detail = f"cannot write into {state}: {error.strerror}"
        remedy = _REMEDIES.get(error.errno or 0)
        raise (JournalError(detail, remedy=remedy) if remedy else JournalError(detail)) from error
