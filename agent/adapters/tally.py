"""Counts results as they come, for the summary and the exit code. Results that change later are changed."""

from __future__ import annotations

from dataclasses import replace

from agent.core.remedies import error_for
from agent.core.result import Outcome, Result
from agent.ports import Progress, QueuedStamp


class Tally:
    """A `Progress` that keeps results and passes everything on to the one that shows it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self.results: list[Result] = []

    @property
    def all_passed(self) -> bool:
        """True if no board failed or was left parked; true without any board."""
        return all(result.outcome is Outcome.PASS for result in self.results)

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`. A parked board that is taken up again counts once."""
        self.results = [
            result
            for result in self.results
            if result.chip_id != chip_id or result.outcome is not Outcome.PARKED
        ]
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
        self.results.append(result)
        self._shown.board_finished(result)

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`. The parked board of this stamp has now passed, or failed."""
        self.results = [
            _settled(result, code)
            if result.outcome is Outcome.PARKED and result.chip_id == queued.chip_id
            else result
            for result in self.results
        ]
        self._shown.stamp_settled(queued, code)


def _settled(result: Result, code: str) -> Result:
    if code:
        remedy = error_for(code).remedy
        return replace(
            result, outcome=Outcome.FAIL, code=code, detail="signerd refused the stamp", remedy=remedy
        )
    return replace(result, outcome=Outcome.PASS, code="", detail="", remedy="")
