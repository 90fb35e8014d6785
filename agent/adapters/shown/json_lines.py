"""Progress as JSON lines on standard output, for machines and for logs.

Each line is an object with `event` and `time`. The other members are those of the event
(docs/formats.md, "Lines of a station"). Texts and lists are bounded, whatever a board or a driver says, so
that no line is longer than `MAX_LINE`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from agent.core.events import (
    BoardSeen,
    Event,
    Finished,
    LineDown,
    LineUp,
    PortReady,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.result import Outcome, Result, Summary

MAX_LINE = 262_144  # bytes of ASCII
_TEXT = 1_000  # characters
_ITEMS = 64  # of a list, or of an object by step, code or image
_NAME = 64  # characters of each
_TENTHS = 10
_FINISHED = {
    Outcome.PASS: "board_done",
    Outcome.FAIL: "board_failed",
    Outcome.PARKED: "board_parked",
}


_NAMES = {
    BoardSeen: "board_seen",
    StepStarted: "step_started",
    Waiting: "waiting",
    PortReady: "port_ready",
    LineDown: "line_down",
    LineUp: "line_up",
}


class Lines(Protocol):
    """Where lines go: a text stream, or a `LineWriter`."""

    def write(self, line: str, /) -> int:
        """One line, with its end."""
        ...

    def flush(self) -> None:
        """What was written is seen by whoever reads."""
        ...


class JsonLines:
    """A `Progress` that writes lines."""

    def __init__(self, stream: Lines) -> None:
        self._stream = stream
        self._shown: dict[tuple[str, str], int] = {}

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        match event:
            case StepProgress(port, step, done, total):
                self._progress(port, step, done, total)
            case StepDone(port, step, seconds):
                self._write("step_done", port=port, step=step, seconds=round(seconds, 4))
            case Finished(result):
                self._write(_FINISHED[result.outcome], **result_object(result))
            case StampSettled():
                outcome = "FAIL" if event.code else "PASS"
                self._write("stamp_settled", **asdict(event), outcome=outcome)
            case _:
                if isinstance(event, StepStarted):
                    self._shown.pop((event.port, event.step), None)
                self._write(_NAMES[type(event)], **asdict(event))

    def _progress(self, port: str, step: str, done: int, total: int) -> None:
        """A line for each tenth of the way."""
        tenth = done * _TENTHS // total if total > 0 else 0
        if self._shown.get((port, step), 0) != tenth:
            self._shown[port, step] = tenth
            self._write("step_progress", port=port, step=step, done=done, total=total)

    def begin(self) -> None:
        """A line needs no beginning."""

    def notice(self, text: str) -> None:
        """Something that is no board's, for the operator."""
        self._write("notice", detail=text)

    def summary(self, summary: Summary) -> None:
        """The last line."""
        self._write("summary", **asdict(summary))

    def _write(self, event: str, **members: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._stream.write(
                json.dumps(
                    {"event": event, "time": now, **{key: _bounded(item) for key, item in members.items()}}
                )
                + "\n"
            )
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


def _bounded(value: Any, text: int = _TEXT) -> Any:
    if isinstance(value, str):
        return value[:text]
    if isinstance(value, dict):
        return {key[:_NAME]: _bounded(item, _NAME) for key, item in list(value.items())[:_ITEMS]}
    if isinstance(value, list | tuple):
        return [_bounded(item, _NAME) for item in value[:_ITEMS]]
    return value


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return


_NOWHERE: Any = _Nowhere()
