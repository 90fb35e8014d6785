"""Counts results as they come, for the summary and the exit code. `agent.core.counts` has the rule."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from agent.core.counts import Counts
from agent.core.events import Event, Finished, Progress
from agent.core.result import Outcome, Result, Summary, summarize

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

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        self._counts.tell(event)
        if isinstance(event, Finished) and event.result.outcome is Outcome.PASS:
            self._recent.append(event.result)
        self._shown(event)
