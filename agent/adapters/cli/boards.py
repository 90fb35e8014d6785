"""`provision` and `run`: shows what happens, sums it up, and turns results into an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from agent.adapters.json_lines import JsonLines
from agent.adapters.tally import Tally
from agent.adapters.watch import Plan
from agent.config import Config
from agent.core.result import Outcome, Summary
from agent.ports import Progress
from agent.wiring import provision_one, read_recipe, run_ports

_PASSED, _NOT_PASSED, _NO_SIGNERD = 0, 1, 4


class Shown(Progress, Protocol):
    """Progress that can also show a summary."""

    def summary(self, summary: Summary) -> None:
        """The end."""
        ...


def provision(config: Config, port: str, order: str, *, as_json: bool) -> int:
    """One board. Returns the exit code; interrupted, the board is parked and the code is 1."""
    with _shown(config, as_json=as_json) as shown:
        try:
            result = asyncio.run(provision_one(config, port, order, shown))
        except asyncio.CancelledError:
            return _NOT_PASSED
    if result.outcome is Outcome.PARKED and result.code == "signer_unavailable":
        return _NO_SIGNERD
    return _PASSED if result.outcome is Outcome.PASS else _NOT_PASSED


def run(
    config: Config, ports: Sequence[str], order: str, *, count: int | None, once: bool, as_json: bool
) -> int:
    """All ports, until the count is reached or a signal comes. Returns 0 only if every board passed."""
    plan = Plan(order, boards=count, once=once, stop_s=config.timeouts.stop_s)
    with _shown(config, as_json=as_json) as shown:
        tally = Tally(shown)
        try:
            asyncio.run(run_ports(config, ports, plan, tally))
        finally:
            shown.summary(tally.summary())
    return _PASSED if tally.all_passed else _NOT_PASSED


@contextmanager
def _shown(config: Config, *, as_json: bool) -> Iterator[Shown]:
    """A live table on a terminal, JSON lines otherwise."""
    if as_json or not sys.stdout.isatty():
        yield JsonLines(sys.stdout)
        return
    from rich.console import Console  # noqa: PLC0415 -- 15 MB that a station without a terminal does not need

    from agent.adapters.display import LiveTable  # noqa: PLC0415

    with LiveTable(Console(highlight=False), read_recipe(config)) as table:
        yield table
