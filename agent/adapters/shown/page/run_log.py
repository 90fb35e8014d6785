"""What happened in a run, second by second, out of its recording: events alone.

What board and signerd were asked and answered stays in the state directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.adapters.journal.recordings import recording_of
from agent.errors import ConfigError

MAX_LINES = 200  # that are told
MAX_TEXT = 300  # characters of one


def run_log(state: Path, run: int) -> list[dict[str, Any]]:
    """The lines, oldest first: `{"at_s": 1.5, "text": "flash begins"}`. None where no recording is kept."""
    try:
        data = recording_of(state, run)
    except ConfigError:
        return []
    return [line for line, _ in zip(_lines(data), range(MAX_LINES), strict=False)]


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    for raw in data.splitlines():
        try:
            happened = json.loads(raw).get("happened")
            if happened is None:
                continue
            text = _text(str(happened["event"]), dict(happened["members"]))
            at_s = float(happened["at_s"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # a recording that was touched says less, and nothing wrong
        if text:
            yield {"at_s": at_s, "text": text[:MAX_TEXT]}


def _text(event: str, members: Mapping[str, Any]) -> str:
    match event:
        case "BoardSeen":
            return f"board {members['chip_id']} answers"
        case "StepStarted":
            return f"{members['step']} begins"
        case "StepDone":
            return f"{members['step']} is done, after {float(members['seconds']):.2f} s"
        case "Waiting":
            return f"waits: {members['detail']}"
        case "Finished":
            result = members["result"]
            return " ".join(filter(None, (result["outcome"], result["code"], result["detail"])))
    return ""  # progress within a step
