"""What a station has made: the one rule by which boards are counted. Pure.

A board counts when it has passed or failed, each time that it comes. A parked one does not count yet: it may
be taken up again, or its stamp may be answered after it has gone. One whose stamp was answered so and that
comes back, for its label, is the same board and was counted.
"""

from __future__ import annotations

from collections import Counter

from agent.core.events import BoardSeen, Event, Finished, StampSettled
from agent.core.result import Outcome, Result, yield_percent

_REMEMBERED = 1_000  # chips that passed after they had gone


class Counts:
    """Of a station, since it was started or since its shift began."""

    def __init__(self) -> None:
        self._passed = 0
        self._failed = 0
        self._codes: Counter[str] = Counter()
        self._parked: dict[str, str] = {}  # code by chip id
        self._settled: dict[str, None] = {}  # chips that passed after they had gone, oldest first

    @property
    def passed(self) -> int:
        """Boards that passed."""
        return self._passed

    @property
    def failed(self) -> int:
        """Boards that failed."""
        return self._failed

    @property
    def parked(self) -> int:
        """Boards that are parked now."""
        return len(self._parked)

    @property
    def yield_percent(self) -> float:
        """What passed, of what passed or failed; 0 without any."""
        return yield_percent(self._passed, self._failed)

    @property
    def codes(self) -> dict[str, int]:
        """How many boards did not pass, by code, those that are parked among them."""
        return dict(self._codes + Counter(self._parked.values()))

    def begin(self, *, passed: int, failed: int) -> None:
        """Counts anew, from what was made already. What is parked stays so."""
        self._passed, self._failed = passed, failed
        self._codes.clear()

    def tell(self, event: Event) -> None:
        """Counts what changes a count."""
        match event:
            case BoardSeen(chip_id=chip_id):  # perhaps one that was parked
                self._parked.pop(chip_id, None)
            case Finished(result):
                self._finished(result)
            case StampSettled(chip_id=chip_id, code=code):
                self._settle(chip_id, code)

    def _finished(self, result: Result) -> None:
        if result.outcome is Outcome.PARKED:
            self._parked[result.chip_id] = result.code
        elif result.outcome is Outcome.PASS:
            self._passed += result.chip_id not in self._settled
            self._settled.pop(result.chip_id, None)
        else:
            self._fail(result.code)

    def _settle(self, chip_id: str, code: str) -> None:
        parked = self._parked.pop(chip_id, None)
        if code:  # also where the board is one of an earlier run: somebody has to look
            self._fail(code)
        elif parked is not None:
            self._passed += 1
            self._settled[chip_id] = None
            if len(self._settled) > _REMEMBERED:
                self._settled.pop(next(iter(self._settled)))

    def _fail(self, code: str) -> None:
        self._failed += 1
        self._codes[code] += 1
