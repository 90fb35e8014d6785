"""One `Progress` that tells several: what counts, what shows, what keeps."""

from __future__ import annotations

from agent.core.result import Result
from agent.ports import Progress, QueuedStamp


class FanOut:
    """See `agent.ports.Progress`. Tells each receiver, in their order."""

    def __init__(self, *receivers: Progress) -> None:
        self._receivers = receivers

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.board_seen(port, chip_id)

    def step_started(self, port: str, step: str) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.step_started(port, step)

    def step_progress(self, port: str, step: str, done: int, total: int) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.step_progress(port, step, done, total)

    def step_done(self, port: str, step: str, seconds: float) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.step_done(port, step, seconds)

    def waiting(self, port: str, detail: str) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.waiting(port, detail)

    def board_finished(self, result: Result) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.board_finished(result)

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`."""
        for receiver in self._receivers:
            receiver.stamp_settled(queued, code)
