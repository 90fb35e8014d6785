"""How long each step takes at each port beside the other ports, and from hour to hour. Pure.

Only boards that passed count: a step that failed took as long as its patience. All times are seconds. The
ports' medians are of the whole shift. Each hour has its median, and the time that nine of ten boards stay
below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain
from statistics import median
from typing import Any

from agent.core.port_names import by_place
from agent.core.result import Outcome
from agent.core.result_row import ResultRow

MAX_HOURS = 24  # the last ones
MAX_PORTS = 64
MAX_STEPS = 24  # a recipe has 14
_BEFORE = -1  # the hour of what was before the last ones
_Times = dict[int, list[float]]  # seconds by hour


@dataclass(frozen=True, slots=True)
class StepAtPort:
    """One step at one port. An hour without a board has None."""

    port: str
    boards: int
    median_s: float
    p90_s: float
    times_others: float | None  # its median, as a multiple of the middle one of the other ports' medians
    hour_median_s: tuple[float | None, ...]
    hour_p90_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """One step at all ports, by place."""

    step: str
    boards: int
    median_s: float
    most_s: float  # the largest of its hours' figures: charts of one step share a scale
    ports: tuple[StepAtPort, ...]


@dataclass(frozen=True, slots=True)
class TimesOfShift:
    """All steps."""

    hours: tuple[str, ...]  # beginnings, local, ISO 8601; without gaps
    steps: tuple[StepTimes, ...]


def times_of_shift(
    rows: Sequence[ResultRow], zone: tzinfo | None, place: Callable[[str], Any]
) -> TimesOfShift:
    """Made from a shift's rows.

    Args:
        rows: in any order.
        zone: of the hours; None means this system's.
        place: a key that sorts steps.
    """
    passed = [(hour_of(row.ended_at, zone), row) for row in rows if row.outcome == Outcome.PASS]
    hours = _hours([hour for hour, _ in passed])
    number = {hour: index for index, hour in enumerate(hours)}
    times: dict[str, dict[str, _Times]] = {}
    for hour, row in passed:
        index = number.get(hour, _BEFORE)
        for step, seconds in row.times.items():
            times.setdefault(step, {}).setdefault(row.port, {}).setdefault(index, []).append(seconds)
    steps = sorted(times, key=place)[:MAX_STEPS]
    return TimesOfShift(
        tuple(hour.astimezone(zone).isoformat(timespec="minutes") for hour in hours),
        tuple(_step(step, times[step], len(hours)) for step in steps),
    )


def hour_of(moment: str, zone: tzinfo | None) -> datetime:
    """The beginning of its hour on the clock of the wall. In UTC: where clocks go back, hours stay apart."""
    local = datetime.fromisoformat(moment).astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return local.astimezone(UTC) - past


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of the values do not exceed (nearest rank); 0 without any."""
    if not values:
        return 0.0
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]


def _hours(seen: Sequence[datetime]) -> list[datetime]:
    """The last hours with a board, and those between them."""
    if not seen:
        return []
    last = max(seen)
    first = max(min(seen), last - timedelta(hours=MAX_HOURS - 1))
    return [first + timedelta(hours=n) for n in range(round((last - first) / timedelta(hours=1)) + 1)]


def _step(step: str, ports: Mapping[str, _Times], hours: int) -> StepTimes:
    whole = {port: sorted(chain.from_iterable(times.values())) for port, times in ports.items()}
    medians = {port: median(times) for port, times in whole.items()}
    everywhere = list(chain.from_iterable(whole.values()))
    shown = sorted(ports, key=by_place)[:MAX_PORTS]
    cells = tuple(_cell(port, ports[port], whole[port], medians, hours) for port in shown)
    known = [
        value for cell in cells for value in (*cell.hour_median_s, *cell.hour_p90_s) if value is not None
    ]
    return StepTimes(step, len(everywhere), _short(median(everywhere)), max(known, default=0.0), cells)


def _cell(
    port: str, times: _Times, whole: Sequence[float], medians: Mapping[str, float], hours: int
) -> StepAtPort:
    others = [seconds for name, seconds in medians.items() if name != port]
    others_s = median(others) if others else 0.0
    by_hour = [times.get(index) for index in range(hours)]
    return StepAtPort(
        port=port,
        boards=len(whole),
        median_s=_short(medians[port]),
        p90_s=_short(percentile(whole, 90)),
        times_others=round(medians[port] / others_s, 2) if others_s else None,
        hour_median_s=tuple(None if values is None else _short(median(values)) for values in by_hour),
        hour_p90_s=tuple(None if values is None else _short(percentile(values, 90)) for values in by_hour),
    )


def _short(seconds: float) -> float:
    return round(seconds, 3)
