"""What came of a board: the value that the journal keeps and the summary and the exit code follow from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median


class Outcome(StrEnum):
    """PASS: certified, stamped, and both are in the ledger. PARKED: not finished, nothing wrong with it."""

    PASS = "PASS"  # noqa: S105  (a verdict, not a password)
    FAIL = "FAIL"
    PARKED = "PARKED"


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step took, over all its tries, in seconds; also one that failed."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """One board's way through the recipe. Texts are empty where nothing is known."""

    port: str
    work_order: str
    chip_id: str
    serial_number: str
    certificate_sha256: str  # lower-case hexadecimal
    outcome: Outcome
    step: str  # the last one begun
    code: str  # empty on PASS
    detail: str
    remedy: str
    seconds: float  # from the first word to the board to the outcome
    times: tuple[StepTime, ...]
    stop: bool = False  # no board can pass until something is mended
    again: bool = False  # presented again, unchanged, the board may pass
    written: tuple[str, ...] | None = (
        None  # images that `flash` wrote, () where all stood there; None without it
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts and times over many boards."""

    boards: int
    passed: int
    failed: int
    parked: int
    yield_percent: float  # passed of passed and failed; 0 without any
    median_s: float  # of the boards that passed
    step_median_s: dict[str, float]
    codes: dict[str, int]  # of boards that did not pass


def yield_percent(passed: int, failed: int) -> float:
    """What passed, of what passed or failed; 0 without any."""
    return 100.0 * passed / (passed + failed) if passed + failed else 0.0


def yield_words(passed: int, failed: int) -> str:
    """The same for people, who are told no figure of boards that are none."""
    return f"{yield_percent(passed, failed):.1f} %" if passed + failed else "-"


def summarize(results: Sequence[Result]) -> Summary:
    """Counts the results; a chip that came several times counts each time."""
    passed = [result for result in results if result.outcome is Outcome.PASS]
    failed = sum(result.outcome is Outcome.FAIL for result in results)
    by_step: dict[str, list[float]] = {}
    for result in passed:
        for time in result.times:
            by_step.setdefault(time.step, []).append(time.seconds)
    codes: dict[str, int] = {}
    for result in results:
        if result.code:
            codes[result.code] = codes.get(result.code, 0) + 1
    return Summary(
        boards=len(results),
        passed=len(passed),
        failed=failed,
        parked=len(results) - len(passed) - failed,
        yield_percent=yield_percent(len(passed), failed),
        median_s=median(result.seconds for result in passed) if passed else 0.0,
        step_median_s={step: median(seconds) for step, seconds in by_step.items()},
        codes=codes,
    )
