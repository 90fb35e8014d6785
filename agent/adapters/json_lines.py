"""Progress as JSON lines on standard output, for machines and for logs.

Each line is an object with `event` and `time`; the other members are the arguments of the `Progress`
method of that name. A result is one of `board_done`, `board_failed`, `board_parked`; `notice` is
something that is no board's; the last line is `summary`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from agent.core.result import Outcome, Result, Summary
from agent.ports import QueuedStamp

_TENTHS = 10
_FINISHED = {
    Outcome.PASS: "board_done",
    Outcome.FAIL: "board_failed",
    Outcome.PARKED: "board_parked",
}


class JsonLines:
    """See `agent.ports.Progress`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: dict[tuple[str, str], int] = {}

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`."""
        self._write("board_seen", port=port, chip_id=chip_id)

    def step_started(self, port: str, step: str) -> None:
        """See `Progress`."""
        self._shown.pop((port, step), None)
        self._write("step_started", port=port, step=step)

    def step_progress(self, port: str, step: str, done: int, total: int) -> None:
        """See `Progress`. A line for each tenth of the way."""
        tenth = done * _TENTHS // total if total > 0 else 0
        if self._shown.get((port, step), 0) != tenth:
            self._shown[port, step] = tenth
            self._write("step_progress", port=port, step=step, done=done, total=total)

    def step_done(self, port: str, step: str, seconds: float) -> None:
        """See `Progress`."""
        self._write("step_done", port=port, step=step, seconds=round(seconds, 4))

    def waiting(self, port: str, detail: str) -> None:
        """See `Progress`."""
        self._write("waiting", port=port, detail=detail)

    def board_finished(self, result: Result) -> None:
        """See `Progress`."""
        self._write(_FINISHED[result.outcome], **result_object(result))

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`."""
        self._write(
            "stamp_settled",
            work_order=queued.work_order,
            chip_id=queued.chip_id,
            serial_number=queued.serial_number,
            outcome="FAIL" if code else "PASS",
            code=code,
        )

    def notice(self, text: str) -> None:
        """Something that is no board's, for the operator."""
        self._write("notice", detail=text)

    def summary(self, summary: Summary) -> None:
        """The last line."""
        self._write("summary", **asdict(summary))

    def _write(self, event: str, **members: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._stream.write(json.dumps({"event": event, "time": now, **members}) + "\n")
            self._stream.flush()
        except OSError:
            # Nobody reads any longer. The boards go on, and the journal has what was not shown.
            self._stream = _NOWHERE


def result_object(result: Result) -> dict[str, Any]:
    """A result as JSON has it: times as an object of seconds by step."""
    members = asdict(result)
    members["times"] = {time.step: round(time.seconds, 4) for time in result.times}
    members["seconds"] = round(result.seconds, 4)
    return members


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return


_NOWHERE: Any = _Nowhere()
