"""Where a shift's seconds went: made from the rows of its boards.

All times are seconds. A step's time is that of all its tries, also of the one at which a board failed. Steps
may run at once (the key is made while the session is opened), so that their shares are shares of step time
and not of the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import pairwise
from statistics import median

from agent.core.line_quality import (
    BoardYield,
    Drift,
    Fault,
    PortQuality,
    SlowPort,
    board_yield,
    drifts,
    pareto,
    port_quality,
    slow_ports,
)
from agent.core.port_names import by_place
from agent.core.result import Outcome, yield_percent
from agent.core.result_row import STEPS, ResultRow
from agent.core.step_times import TimesOfShift, hour_of, percentile, times_of_shift

SIGNERD_STEPS = ("session", "sign", "record")  # the station waits for signerd here
BREAK_S = 1_800.0  # a port that stands still for longer stands still for a reason of its own


@dataclass(frozen=True, slots=True)
class StepShare:
    """One step over all boards that took it."""

    step: str
    boards: int
    median_s: float
    p90_s: float  # nine of ten boards took at most so long
    max_s: float
    total_s: float
    share_percent: float  # of all steps' time


@dataclass(frozen=True, slots=True)
class PortTime:
    """One port."""

    port: str
    boards: int
    busy_s: float
    idle_s: float  # between boards, without breaks
    median_idle_s: float
    breaks: int  # longer than BREAK_S


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the clock on the wall."""

    hour: str  # its beginning, local, ISO 8601
    passed: int
    failed: int
    yield_percent: float


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """All of it."""

    boards: int
    passed: int
    failed: int
    parked: int
    yield_percent: float
    first: str  # UTC, ISO 8601; empty without a board
    last: str
    median_s: float  # of the boards that passed
    p90_s: float
    steps: tuple[StepShare, ...]  # in the order of the way
    signerd_s: float
    signerd_percent: float  # of all steps' time
    ports: tuple[PortTime, ...]
    codes: dict[str, int]  # most frequent first
    hours: tuple[Hour, ...]
    board_yield: BoardYield  # each board once; `yield_percent` counts runs
    faults: tuple[Fault, ...]
    quality: tuple[PortQuality, ...]
    drifts: tuple[Drift, ...]
    slow_ports: tuple[SlowPort, ...]
    step_times: TimesOfShift


def report_of(rows: Sequence[ResultRow], zone: tzinfo | None = None) -> ShiftReport:
    """Makes the report. `zone` is that of the hours; None means this system's."""
    outcomes = Counter(row.outcome for row in rows)
    passed, failed = outcomes[Outcome.PASS], outcomes[Outcome.FAIL]
    good = [row.seconds for row in rows if row.outcome == Outcome.PASS]
    steps = _steps(rows)
    all_s = sum(step.total_s for step in steps)
    signerd_s = sum(step.total_s for step in steps if step.step in SIGNERD_STEPS)
    return ShiftReport(
        boards=len(rows),
        passed=passed,
        failed=failed,
        parked=outcomes[Outcome.PARKED],
        yield_percent=yield_percent(passed, failed),
        first=min((row.started_at for row in rows), default=""),
        last=max((row.ended_at for row in rows), default=""),
        median_s=median(good) if good else 0.0,
        p90_s=percentile(good, 90),
        steps=steps,
        signerd_s=signerd_s,
        signerd_percent=_percent(signerd_s, all_s),
        ports=_ports(rows),
        codes=dict(Counter(row.code for row in rows if row.code).most_common()),
        hours=_hours(rows, zone),
        board_yield=board_yield(rows),
        faults=pareto(rows),
        quality=port_quality(rows),
        drifts=drifts(rows),
        slow_ports=slow_ports(rows),
        step_times=times_of_shift(rows, zone, way_place),
    )


def way_place(step: str) -> tuple[int, str]:
    """A key that sorts steps as a board takes them; unknown ones come last."""
    return (_WAY.index(step) if step in _WAY else len(_WAY)), step


def _steps(rows: Sequence[ResultRow]) -> tuple[StepShare, ...]:
    times: dict[str, list[float]] = {}
    for row in rows:
        for step, seconds in row.times.items():
            times.setdefault(step, []).append(seconds)
    all_s = sum(map(sum, times.values()))
    return tuple(
        StepShare(
            step=step,
            boards=len(times[step]),
            median_s=median(times[step]),
            p90_s=percentile(times[step], 90),
            max_s=max(times[step]),
            total_s=sum(times[step]),
            share_percent=_percent(sum(times[step]), all_s),
        )
        for step in sorted(times, key=way_place)
    )


def _ports(rows: Sequence[ResultRow]) -> tuple[PortTime, ...]:
    of_port: dict[str, list[ResultRow]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        of_port.setdefault(row.port, []).append(row)
    return tuple(_port(name, of_port[name]) for name in sorted(of_port, key=by_place))


def _port(name: str, rows: Sequence[ResultRow]) -> PortTime:
    gaps = [
        max((_moment(later.started_at) - _moment(earlier.ended_at)).total_seconds(), 0.0)
        for earlier, later in pairwise(rows)
    ]
    idle = [gap for gap in gaps if gap <= BREAK_S]
    return PortTime(
        port=name,
        boards=len(rows),
        busy_s=sum(row.seconds for row in rows),
        idle_s=sum(idle),
        median_idle_s=median(idle) if idle else 0.0,
        breaks=len(gaps) - len(idle),
    )


def _hours(rows: Sequence[ResultRow], zone: tzinfo | None) -> tuple[Hour, ...]:
    counts: dict[datetime, Counter[str]] = {}
    for row in rows:
        counts.setdefault(hour_of(row.ended_at, zone), Counter())[row.outcome] += 1
    return tuple(
        Hour(
            hour.astimezone(zone).isoformat(timespec="minutes"),
            count[Outcome.PASS],
            count[Outcome.FAIL],
            yield_percent(count[Outcome.PASS], count[Outcome.FAIL]),
        )
        for hour, count in sorted(counts.items())
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


# The order of a board's way: signerd's parts stand where they are taken.
_WAY = [str(step) for step in STEPS if step not in {"session", "record"}]
_WAY.insert(_WAY.index("identify") + 1, "session")
_WAY.insert(_WAY.index("stamp") + 1, "record")
