"""Counts results as they come, for the summary and the exit code. `agent.core.counts` has the rule."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from agent.core.counts import Counts
from agent.core.result import Outcome, Result, Summary, summarize
from agent.ports import Progress, QueuedStamp

_RECENT = 1_000  # boards whose times make the medians


class Tally:
    """A `Progress` that counts, and passes everything on to the one that shows it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._counts = Counts()
        self._recent: deque[Result] = deque(maxlen=_RECENT)  # that passed

    @property
    def all_passed(self) -> bool:
        """True if no board failed or was left parked; true without any board."""
        return not self._counts.failed and not self._counts.parked

    def summary(self) -> Summary:
        """Exact counts; times of the last 1,000 boards that passed."""
        counts = self._counts
        return replace(
            summarize(list(self._recent)),
            boards=counts.passed + counts.failed + counts.parked,
            passed=counts.passed,
            failed=counts.failed,
            parked=counts.parked,
            yield_percent=counts.yield_percent,
            codes=counts.codes,
        )

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`."""
        self._counts.board_seen(chip_id)
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
        self._counts.board_finished(result)
        if result.outcome is Outcome.PASS:
            self._recent.append(result)
        self._shown.board_finished(result)

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`. The parked board of this stamp has now passed, or failed."""
        self._counts.stamp_settled(queued.chip_id, code)
        self._shown.stamp_settled(queued, code)
