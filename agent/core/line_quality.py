"""How good a shift was: boards that passed at first, what failed where, and ports that stand out. Pure.

**Board.** A chip is one board, however often it comes. A run without a chip id is a board of its own: nobody
can say which one it was. Only verdicts count. A parked run is none, so what is parked and passes later passed
at first.

**A port that fails.** Its failures are compared with those of all other ports together by Fisher's exact
test, one-sided. It is flagged where chance alone would do so in less than one shift of a hundred
(`FALSE_ALARM`, shared among the ports), it failed `LEAST_FAILURES` times, and twice as often as the others.

**A step that drifts.** The first and the last quarter of a port's boards that passed are compared by the
rank test of Mann and Whitney. The step is flagged where the test's normal score reaches `DRIFT_SCORE`, and
the median moved by a quarter and by half a second. It takes 32 boards.

**A port that is slow.** Its boards that passed are compared with those of all other ports together by the
same test. It is flagged at a step where the score reaches `DRIFT_SCORE`, and its median is longer than the
middle one of the other ports' medians by a quarter and by half a second. It takes 16 boards, and as many of
the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import exp, lgamma, sqrt
from statistics import median

from agent.core.port_names import by_place
from agent.core.result import Outcome, yield_percent
from agent.core.result_row import ResultRow

FALSE_ALARM = 0.01  # of a shift, over all its ports
LEAST_FAILURES = 3
LEAST_TIMES = 2.0
DRIFT_SCORE = 3.3  # one of 1,000 by chance, of both signs
DRIFT_LEAST_BOARDS = 32
DRIFT_LEAST_SHARE = 0.25
DRIFT_LEAST_S = 0.5
SLOW_LEAST_BOARDS = 16
_VERDICTS = frozenset({Outcome.PASS, Outcome.FAIL})


@dataclass(frozen=True, slots=True)
class BoardYield:
    """Boards, each counted once."""

    boards: int  # that have a verdict
    passed_first: int
    passed_at_last: int
    first_pass_percent: float
    final_percent: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A code at a port, most frequent first."""

    code: str
    port: str
    count: int
    share_percent: float  # of all failures
    sum_percent: float  # of this one and those before it


@dataclass(frozen=True, slots=True)
class PortQuality:
    """How often a port fails, beside the others."""

    port: str
    passed: int
    failed: int
    failed_percent: float
    others_percent: float  # of all other ports together
    times_others: float | None  # None where the others never failed
    chance: float  # that a port as good as the others fails so often
    flagged: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """A step that became slower or faster at a port."""

    port: str
    step: str
    boards: int
    first_s: float  # median of the first quarter of the boards
    last_s: float
    change_percent: float


@dataclass(frozen=True, slots=True)
class SlowPort:
    """A step that takes longer at a port than at the others."""

    port: str
    step: str
    boards: int
    median_s: float
    others_s: float  # the middle one of the other ports' medians
    times_others: float | None  # None where the others take no time


def board_yield(rows: Iterable[ResultRow]) -> BoardYield:
    """First-pass and final yield."""
    first: dict[str | int, bool] = {}
    last: dict[str | int, bool] = {}
    for row in sorted(rows, key=lambda row: (row.ended_at, row.run)):
        if row.outcome in _VERDICTS:
            board = row.chip_id or row.run
            passed = row.outcome == Outcome.PASS
            first.setdefault(board, passed)
            last[board] = passed
    passed_first, passed_at_last = sum(first.values()), sum(last.values())
    return BoardYield(
        boards=len(first),
        passed_first=passed_first,
        passed_at_last=passed_at_last,
        first_pass_percent=yield_percent(passed_first, len(first) - passed_first),
        final_percent=yield_percent(passed_at_last, len(first) - passed_at_last),
    )


def pareto(rows: Iterable[ResultRow]) -> tuple[Fault, ...]:
    """Failures by code and port, most frequent first."""
    counts = Counter((row.code, row.port) for row in rows if row.outcome == Outcome.FAIL)
    total, so_far, faults = counts.total(), 0, []
    for (code, port), count in sorted(
        counts.items(), key=lambda item: (-item[1], item[0][0], by_place(item[0][1]))
    ):
        so_far += count
        faults.append(Fault(code, port, count, 100.0 * count / total, 100.0 * so_far / total))
    return tuple(faults)


def port_quality(rows: Iterable[ResultRow]) -> tuple[PortQuality, ...]:
    """All ports by place. See the module for the rule."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        if row.outcome in _VERDICTS:
            counts.setdefault(row.port, Counter())[row.outcome] += 1
    failed = sum(count[Outcome.FAIL] for count in counts.values())
    tried = sum(count.total() for count in counts.values())
    return tuple(
        _port(name, counts[name], failed, tried, len(counts)) for name in sorted(counts, key=by_place)
    )


def _port(name: str, count: Counter[str], all_failed: int, all_tried: int, ports: int) -> PortQuality:
    failed, tried = count[Outcome.FAIL], count.total()
    others = all_tried - tried
    others_percent = 100.0 * (all_failed - failed) / others if others else 0.0
    percent = 100.0 * failed / tried
    times = percent / others_percent if others_percent else None
    chance = fisher(failed, tried, all_failed, all_tried)
    return PortQuality(
        port=name,
        passed=count[Outcome.PASS],
        failed=failed,
        failed_percent=percent,
        others_percent=others_percent,
        times_others=times,
        chance=chance,
        flagged=failed >= LEAST_FAILURES
        and (times is None or times >= LEAST_TIMES)
        and chance < FALSE_ALARM / ports,
    )


def fisher(failed: int, tried: int, all_failed: int, all_tried: int) -> float:
    """The chance that of `tried` boards, drawn blindly, at least `failed` are among the failed ones."""

    def log_choose(whole: int, part: int) -> float:
        return lgamma(whole + 1) - lgamma(part + 1) - lgamma(whole - part + 1)

    whole = log_choose(all_tried, tried)
    first = max(failed, tried - (all_tried - all_failed))
    terms = (
        exp(log_choose(all_failed, k) + log_choose(all_tried - all_failed, tried - k) - whole)
        for k in range(first, min(tried, all_failed) + 1)
    )
    return min(sum(terms), 1.0)


def drifts(rows: Iterable[ResultRow]) -> tuple[Drift, ...]:
    """Steps that drift, the largest change first. See the module for the rule."""
    times: dict[tuple[str, str], list[float]] = {}
    for row in sorted(rows, key=lambda row: (row.ended_at, row.run)):
        if row.outcome == Outcome.PASS:
            for step, seconds in row.times.items():
                times.setdefault((row.port, step), []).append(seconds)
    found = [drift for (port, step), values in times.items() if (drift := _drift(port, step, values))]
    return tuple(sorted(found, key=lambda drift: -abs(drift.last_s - drift.first_s)))


def _drift(port: str, step: str, values: Sequence[float]) -> Drift | None:
    if len(values) < DRIFT_LEAST_BOARDS:
        return None
    quarter = len(values) // 4
    first, last = values[:quarter], values[-quarter:]
    first_s, last_s = median(first), median(last)
    moved = abs(last_s - first_s)
    if (
        moved < DRIFT_LEAST_S
        or moved < DRIFT_LEAST_SHARE * first_s
        or abs(rank_score(first, last)) < DRIFT_SCORE
    ):
        return None
    change = 100.0 * (last_s - first_s) / first_s if first_s else 100.0
    return Drift(port, step, len(values), first_s, last_s, change)


def rank_score(first: Sequence[float], last: Sequence[float]) -> float:
    """The normal score of Mann and Whitney's U: above 0 where `last` is larger. Ties count half."""
    ordered = sorted(first)
    larger = sum((bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 for value in last)
    pairs = len(first) * len(last)
    return (larger - pairs / 2) / sqrt(pairs * (len(first) + len(last) + 1) / 12)


def slow_ports(rows: Iterable[ResultRow]) -> tuple[SlowPort, ...]:
    """Ports that are slow at a step, the most seconds first. See the module for the rule."""
    times: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.outcome == Outcome.PASS:
            for step, seconds in row.times.items():
                times.setdefault(step, {}).setdefault(row.port, []).append(seconds)
    found = [slow for step, ports in times.items() for slow in _slow_at(step, ports)]
    return tuple(sorted(found, key=lambda slow: (slow.others_s - slow.median_s, by_place(slow.port))))


def _slow_at(step: str, ports: Mapping[str, Sequence[float]]) -> Iterator[SlowPort]:
    medians = {port: median(values) for port, values in ports.items()}
    everywhere = sorted(chain.from_iterable(ports.values()))
    for port, values in ports.items():
        others = len(everywhere) - len(values)
        if min(len(values), others) < SLOW_LEAST_BOARDS:
            continue
        others_s = median(seconds for name, seconds in medians.items() if name != port)
        more = medians[port] - others_s
        if (
            more >= DRIFT_LEAST_S
            and more >= DRIFT_LEAST_SHARE * others_s
            and _score_among(values, everywhere) >= DRIFT_SCORE
        ):
            times = medians[port] / others_s if others_s else None
            yield SlowPort(port, step, len(values), medians[port], others_s, times)


def _score_among(values: Sequence[float], everywhere: Sequence[float]) -> float:
    """`rank_score` of some values beside the others. `everywhere` has both, sorted."""
    twice = sum(bisect_left(everywhere, value) + bisect_right(everywhere, value) + 1 for value in values)
    larger = (twice - len(values) * (len(values) + 1)) / 2
    pairs = len(values) * (len(everywhere) - len(values))
    return (larger - pairs / 2) / sqrt(pairs * (len(everywhere) + 1) / 12)
