"""What the page tells of boards that are done, out of the journal: the shift, boards, one board.

    records = Records(state / FILE_NAME, live)
    app.router.add_get("/api/shift", records.shift, allow_head=False)

One thread of its own reads, one question after the other. So many may wait, each for so long. The shift is
made once for all who look within some seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.adapters.journal.boards import MAX_KEY, board_runs, find_boards, shift_rows
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.page.run_log import run_log
from agent.core.port_names import by_place, short_names
from agent.core.result_row import json_object
from agent.core.shift_report import report_of, way_place
from agent.errors import AgentError

MAX_WAITING = 16  # questions
KEPT_S = 5.0  # the shift
_FAULTS = 50  # that are told
_LOGS = 5  # runs of a board whose log is told
_LISTED = ("run", "ended_at", "port", "chip_id", "serial_number", "outcome", "step", "code", "seconds")


class Records:
    """Answers questions about boards that are done. `close` ends its thread."""

    def __init__(self, journal: Path | None, live: LiveState) -> None:
        self._journal = journal
        self._live = live
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page records")
        self._waiting = 0
        self._shift: tuple[str, float, asyncio.Future[bytes]] | None = None

    def close(self) -> None:
        """Waits for nobody: a read ends by its own bound. Who asks from now on is told to come later."""
        self._waiting = MAX_WAITING
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def shift(self, _request: web.Request) -> web.StreamResponse:
        """The shift that is on the page of tiles: yield, faults, ports, steps."""
        loop = asyncio.get_running_loop()
        since = self._live.snapshot().shift.since
        kept = self._shift
        if kept is None or kept[0] != since or loop.time() - kept[1] >= KEPT_S or _failed(kept[2]):
            names = self._names()
            reading = asyncio.ensure_future(self._read(lambda path: _shift(path, since, names)))
            kept = self._shift = since, loop.time(), reading
        # A browser that goes takes the reading from nobody else.
        return await _told(asyncio.shield(kept[2]))

    async def boards(self, request: web.Request) -> web.StreamResponse:
        """The last boards; with `?q=` those whose serial number or chip id contains it."""
        text = request.query.get("q", "").strip()
        if len(text) > MAX_KEY:
            raise web.HTTPBadRequest(text=f"At most {MAX_KEY} characters.\n")
        names = self._names()
        return await _told(self._read(lambda path: _boards(path, text, names)))

    async def board(self, request: web.Request) -> web.StreamResponse:
        """One board, by chip id, serial number or number of a run."""
        key = request.match_info["key"]
        if len(key) > MAX_KEY:
            raise web.HTTPNotFound(text="No such board.\n")
        names = self._names()
        return await _told(self._read(lambda path: _board(path, key, names)))

    def _names(self) -> frozenset[str]:
        """The ports of the page of tiles: boards that are done have the short names beside them."""
        return frozenset(port.port for port in self._live.snapshot().ports)

    async def _read(self, question: Callable[[Path], bytes]) -> bytes:
        if self._journal is None:
            return b""
        if self._waiting >= MAX_WAITING:
            raise _BusyError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, question, self._journal)
        finally:
            self._waiting -= 1


class _BusyError(Exception):
    """Too many ask at once."""


async def _told(reading: Awaitable[bytes]) -> web.StreamResponse:
    """The answer. Each browser gets an error of its own: one that was answered with cannot be again."""
    try:
        body = await reading
    except _BusyError:
        raise web.HTTPServiceUnavailable(
            text="Too many ask at once.\n", headers={"Retry-After": "5"}
        ) from None
    except AgentError as error:
        text = "The journal cannot be read now: birthmark-agent doctor says why.\n"
        raise web.HTTPServiceUnavailable(text=text) from error
    if not body:
        raise web.HTTPNotFound(text="No such board.\n")
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _failed(reading: asyncio.Future[bytes]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


def _short(names: frozenset[str], ports: Iterable[str]) -> dict[str, str]:
    """What each of these ports is called, as on its tile."""
    ports = set(ports)
    shorts = short_names(names | ports)
    return {port: shorts[port] for port in sorted(ports, key=by_place)}


def _shift(path: Path, since: str, names: frozenset[str]) -> bytes:
    rows, whole = shift_rows(path, datetime.fromisoformat(since).isoformat(timespec="milliseconds"))
    report = asdict(report_of(rows))
    report["short_names"] = _short(names, (row.port for row in rows))
    report["faults_left_out"] = max(len(report["faults"]) - _FAULTS, 0)
    report["faults"] = report["faults"][:_FAULTS]
    return json.dumps({"since": since, "whole": whole, **report}).encode()


def _boards(path: Path, text: str, names: frozenset[str]) -> bytes:
    found = map(asdict, find_boards(path, text))
    listed = [{name: row[name] for name in _LISTED} for row in found]
    shorts = _short(names, (row["port"] for row in listed))
    return json.dumps({"boards": listed, "short_names": shorts}).encode()


def _board(path: Path, key: str, names: frozenset[str]) -> bytes:
    found = board_runs(path, key)
    if found is None:
        return b""
    stamps = [asdict(stamp) for stamp in found.stamps]
    runs: list[dict[str, Any]] = [json_object(run) for run in found.runs]
    for run in runs:
        run["log"] = []
        run["agent"] = found.agents.get(run["run"], "")
        run["times"] = {step: run["times"][step] for step in sorted(run["times"], key=way_place)}
    for run in runs[:_LOGS]:
        run["log"] = run_log(path.parent, run["run"])
    shorts = _short(names, (run["port"] for run in runs))
    return json.dumps({"runs": runs, "stamps": stamps, "short_names": shorts}).encode()
