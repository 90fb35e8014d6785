"""The comparison of the whole database with the ledger, in the background.

What only an absence shows, no call can see: that a chip or a key was certified before. Each run has a process
of its own compare everything (`database_check_process`), as `signerd database verify` does.

What a run finds is in the log and in the metrics. Where it lets a chip or a key be certified once more,
`on_end` is told so, and no place is taken until a run finds it mended: the one rule that signerd is there for
would not hold. Everything else goes on. A run that fails stops nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from signerd.adapters.background_process import background_process, demand_ended_well
from signerd.errors import Fault, Unavailable

FIRST_S = 30.0  # after the start, which others wait for
DEADLINE_S = 12 * 3600.0  # at the lowest priority; a million boards take three minutes of an idle core
_PROGRAM = ("-m", "signerd.adapters.database_check_process")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a run found."""

    ended_at: datetime
    entries: int
    total: int  # findings
    again: bool  # a chip or a key could be certified once more
    findings: tuple[str, ...]  # the first ones

    @property
    def refusal(self) -> Unavailable | None:
        """Why no place is to be taken. Stations wait, as for a database that does not answer."""
        if not self.again:
            return None
        first = self.findings[0] if self.findings else "entries are missing"
        return Unavailable(
            "no place is taken: the database lacks what keeps a chip or a key from being certified once more"
            f" ({self.total} findings, first {first}): signerd database verify"
        )


class DatabaseCheck:
    """One run at a time."""

    def __init__(
        self,
        url: str,
        head_file: Path,
        vkey: str,
        *,
        clock: Callable[[], datetime],
        on_end: Callable[[Compared | None], None],
    ) -> None:
        """`clock` gives aware UTC moments. `on_end` is called after each run, with None after one that
        failed."""
        self._asked = json.dumps({"url": url, "head": str(head_file), "vkey": vkey}).encode() + b"\n"
        self._clock = clock
        self._on_end = on_end
        self._repeating: asyncio.Task[None] | None = None

    def repeat(self, every: timedelta, *, first_s: float = FIRST_S) -> None:
        """Runs soon, and again after each pause, until `stop`."""

        async def again_and_again() -> None:
            await asyncio.sleep(first_s)
            while True:
                await self.run()
                await asyncio.sleep(every.total_seconds())

        self._repeating = asyncio.create_task(again_and_again(), name="comparisons of the database")

    async def stop(self) -> None:
        """Ends a run that is under way, and its process."""
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.wait((self._repeating,))

    async def run(self) -> None:
        """One comparison. It never fails: `on_end` tells."""
        began, compared = time.monotonic(), None
        try:
            async with asyncio.timeout(DEADLINE_S):
                compared = await self._compare()
        except TimeoutError:
            _log.error("database_not_compared", detail=f"it did not end within {DEADLINE_S:g} s")
        except Fault as error:
            _log.error("database_not_compared", detail=error.detail)
        except Exception as error:  # noqa: BLE001 - a dead task would end all later runs, unheard
            _log.exception("database_not_compared", detail=repr(error))
        else:
            _tell(compared, time.monotonic() - began)
        self._on_end(compared)

    async def _compare(self) -> Compared:
        async with background_process(_PROGRAM, "the comparison") as process:
            output, errors = await process.communicate(self._asked)
            demand_ended_well(process, errors, "the comparison")
            return self._report(output)

    def _report(self, output: bytes) -> Compared:
        try:
            report = json.loads(output)
            compared = Compared(
                self._clock(),
                int(report["entries"]),
                int(report["total"]),
                bool(report["again"]),
                tuple(map(str, report["findings"])),
            )
            denied = [str(each) for each in report["denied"]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Fault("the comparison ended without a report") from error
        if denied:
            _log.warning("comparison_not_in_the_background", denied=denied)
        return compared


def _tell(compared: Compared, seconds: float) -> None:
    for each in compared.findings:
        _log.error("database_differs", finding=each)
    if compared.again:
        _log.critical("no_places_are_taken", remedy="signerd database verify", findings=compared.total)
    _log.info(
        "database_compared", entries=compared.entries, findings=compared.total, seconds=round(seconds, 1)
    )
