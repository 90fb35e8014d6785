"""Counts results as they come, for the summary and the exit code, in bounded memory.

A parked board is counted when it has passed or failed: it may be taken up again, or its stamp may be
answered after it has gone. One whose stamp was answered so and that comes back for its label is the same
board, and counted once.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from agent.core.result import Outcome, Result, Summary, summarize, yield_percent
from agent.ports import Progress, QueuedStamp

_RECENT = 1_000  # boards whose times make the medians


class Tally:
    """A `Progress` that counts, and passes everything on to the one that shows it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._passed = 0
        self._failed = 0
        self._codes: Counter[str] = Counter()
        self._parked: dict[str, Result] = {}  # by chip id
        self._settled: dict[str, None] = {}  # chips that passed after they had gone, oldest first
        self._recent: deque[Result] = deque(maxlen=_RECENT)

    @property
    def all_passed(self) -> bool:
        """True if no board failed or was left parked; true without any board."""
        return not self._failed and not self._parked

    def summary(self) -> Summary:
        """Exact counts; times of the last 1,000 boards that passed."""
        parked = Counter(result.code for result in self._parked.values())
        return replace(
            summarize(list(self._recent)),
            boards=self._passed + self._failed + len(self._parked),
            passed=self._passed,
            failed=self._failed,
            parked=len(self._parked),
            yield_percent=yield_percent(self._passed, self._failed),
            codes=dict(self._codes + parked),
        )

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`."""
        self._parked.pop(chip_id, None)
        self._shown.board_seen(port, chip_id)

    def step_started(self, port: str, step: str) -> None:
        """See `Progress`."""
        self._shown.step_started(port, step)

    def step_progress(self, port: str, step: str, done: int, total: int) -> None:
        """See `Progress`."""
        self._shown.step_progress(port, step, done, total)

    def step_done(self, port: str, step: str, seconds: float) -> None:
        """See `Progress`."""
        self._shown.step_done(port, step, seconds)

    def waiting(self, port: str, detail: str) -> None:
        """See `Progress`."""
        self._shown.waiting(port, detail)

    def board_finished(self, result: Result) -> None:
        """See `Progress`."""
        if result.outcome is Outcome.PARKED:
            self._parked[result.chip_id] = result
        elif result.outcome is Outcome.PASS:
            self._passed += result.chip_id not in self._settled
            self._settled.pop(result.chip_id, None)
            self._recent.append(result)
        else:
            self._fail(result.code)
        self._shown.board_finished(result)

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`. The parked board of this stamp has now passed, or failed."""
        parked = self._parked.pop(queued.chip_id, None)
        if code:  # also where the board is one of an earlier run: somebody has to look
            self._fail(code)
        elif parked is not None:
            self._passed += 1
            self._settled[queued.chip_id] = None
            if len(self._settled) > _RECENT:
                self._settled.pop(next(iter(self._settled)))
        self._shown.stamp_settled(queued, code)

    def _fail(self, code: str) -> None:
        self._failed += 1
        self._codes[code] += 1
