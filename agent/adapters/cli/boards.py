"""`provision` and `run`: shows what happens, sums it up, and turns results into an exit code."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO, cast

from agent.adapters.line.called import port_of_station, port_to_trace
from agent.adapters.line.watch import Plan
from agent.adapters.log.agent_log import agent_log, log_event, log_file
from agent.adapters.log.trace import SerialTrace
from agent.adapters.parts import read_recipe
from agent.adapters.results.desk import ResultsDesk
from agent.adapters.results.files import count_outcomes
from agent.adapters.shop_floor import shop_floor
from agent.adapters.shown.fan_out import fan_out
from agent.adapters.shown.json_lines import JsonLines
from agent.adapters.shown.line_writer import LineWriter
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.tally import Tally
from agent.adapters.shown.terminal_writer import TerminalWriter
from agent.config import Config
from agent.core.events import Event
from agent.core.result import Outcome, Result, Summary
from agent.ports import ListPorts
from agent.program import program_version
from agent.wiring import Traced, provision_one, run_ports

_LOG = logging.getLogger(__name__)
_PASSED, _NOT_PASSED, _NO_SIGNERD = 0, 1, 4
_AWAY = frozenset({"signer_unavailable", "signer_slow", "clock_wrong"})
_BESIDE_RECIPE = 2  # session and record: signerd's part of the way


class Shown(Protocol):
    """A `Progress` that can also show a summary, and what is no board's."""

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        ...

    def begin(self) -> None:
        """The station is open. Not called where its start is refused."""
        ...

    def summary(self, summary: Summary) -> None:
        """The end."""
        ...

    def notice(self, text: str) -> None:
        """Something that an operator should know."""
        ...


def provision(config: Config, port: str, order: str, *, as_json: bool, trace: str | None = None) -> int:
    """One board. Returns the exit code; interrupted, the board is parked and the code is 1."""
    port = port_of_station(port, config)
    tracing = None if trace is None else _Tracing(trace, port_to_trace(trace, config, (port,)))
    live = _live(config, order)
    with _shown(live, as_json=as_json) as shown:

        async def one() -> Result:
            async with ResultsDesk(config, shown.notice) as results:
                progress = fan_out(live, results, log_event, shown)
                return await provision_one(config, port, order, progress, traced)

        try:
            with agent_log(config, shown.notice), _traced(config, tracing, shown.notice) as traced:
                _LOG.info("started", extra={"fields": {"version": program_version(), "order": order}})
                result = asyncio.run(one())
        except asyncio.CancelledError:
            return _NOT_PASSED
    away = result.code in _AWAY or result.code.startswith("line_")
    if result.outcome is Outcome.PARKED and away:
        return _NO_SIGNERD
    return _PASSED if result.outcome is Outcome.PASS else _NOT_PASSED


def run(
    config: Config,
    ports: Sequence[str],
    order: str,
    *,
    count: int | None,
    once: bool,
    as_json: bool,
    trace: str | None = None,
) -> int:
    """All ports, until the count is reached or a signal comes. Returns 0 only if every board passed."""
    ports = [port_of_station(port, config) for port in ports]
    tracing = None if trace is None else _Tracing(trace, port_to_trace(trace, config, ports))
    plan = Plan(order, boards=count, once=once, stop_s=config.timeouts.stop_s)
    live = _live(config, order)
    with _shown(live, as_json=as_json) as shown:
        tally = Tally(shown)

        def notice(text: str) -> None:
            live.notice(text)
            shown.notice(text)

        def begun(listed: ListPorts, places: Mapping[str, str]) -> ListPorts:
            shown.begin()
            return live.watching(listed, places)

        async def all_ports() -> None:
            async with shop_floor(config, live, notice) as results:
                progress = fan_out(live, results, log_event, tally)
                await run_ports(config, ports, plan, progress, seen_by=begun, traced=traced, notice=notice)

        try:
            with agent_log(config, notice), _traced(config, tracing, notice) as traced:
                _LOG.info("started", extra={"fields": {"version": program_version(), "order": order}})
                asyncio.run(all_ports())
        finally:
            shown.summary(tally.summary())
    return _PASSED if tally.all_passed else _NOT_PASSED


@dataclass(frozen=True, slots=True)
class _Tracing:
    """The port whose dialogue is written: as it was called, and by its name."""

    called: str
    port: str


@contextmanager
def _traced(
    config: Config, wanted: _Tracing | None, notice: Callable[[str], None]
) -> Iterator[Traced | None]:
    """Says where the trace goes, and at the end if there was nothing to trace."""
    if wanted is None:
        yield None
        return
    called = wanted.called
    file = log_file(config, f"trace-{re.sub('[^A-Za-z0-9.]+', '-', called).strip('-.')}.log")
    trace = SerialTrace(file, notice)
    notice(f"the dialogue of {called} goes to {file.path}")
    yield Traced(wanted.port, trace)
    if not trace.begun:
        notice(f"nothing was traced: port {called} was not opened")


def _live(config: Config, order: str) -> LiveState:
    live = LiveState(order, len(read_recipe(config).steps) + _BESIDE_RECIPE, shifts=config.shifts)
    begun = live.shift_begin()
    if begun is not None:  # the station may have been started in the middle of the shift
        counts = count_outcomes(config.state, begun.isoformat(timespec="milliseconds"))
        live.begin_shift(begun, passed=counts.get(Outcome.PASS, 0), failed=counts.get(Outcome.FAIL, 0))
    return live


def _descriptor(stream: TextIO) -> int | None:
    """None where something in this process has standard output's place."""
    try:
        return stream.fileno()
    except OSError:  # io.UnsupportedOperation
        return None


@contextmanager
def _shown(live: LiveState, *, as_json: bool) -> Iterator[Shown]:
    """A live table on a terminal, JSON lines otherwise."""
    if as_json or not sys.stdout.isatty():
        descriptor = _descriptor(sys.stdout)
        if descriptor is None:
            yield JsonLines(sys.stdout)
            return
        with LineWriter(descriptor) as lines:
            yield JsonLines(lines)
        return
    _modern_console()
    from rich.console import Console  # noqa: PLC0415 -- 15 MB that a station without a terminal does not need

    from agent.adapters.shown.table import LiveTable  # noqa: PLC0415

    with TerminalWriter(sys.stdout) as terminal:
        console = Console(highlight=False, file=cast("TextIO", terminal))
        if console.legacy_windows:  # its colours are calls, which would overtake what waits in a stream
            with LiveTable(Console(highlight=False), live.snapshot) as table:
                yield table
            return
        with LiveTable(console, live.snapshot, terminal) as table:
            yield table


def _modern_console() -> None:
    """A console of Windows from before its Terminal takes escapes only once it was told to."""
    if sys.platform == "win32":
        # typer's, on Windows alone
        from colorama import just_fix_windows_console  # type: ignore[import-untyped]  # noqa: PLC0415

        just_fix_windows_console()
