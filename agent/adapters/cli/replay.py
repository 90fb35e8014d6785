"""`replay`: what a recorded run was asked and answered, and whether it ends so again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from agent.adapters.journal.recordings import list_recordings, read_file, recording_of
from agent.adapters.shown.json_lines import result_object
from agent.config import load
from agent.core.plain_text import plain
from agent.core.result import Outcome, Result
from agent.errors import ConfigError
from agent.recording import CHANCE, JOURNAL, Call, Happened
from agent.replay import Recording, RecordingError, Replayed, read_recording
from agent.replay import replay as replay_recording

_SAME, _DIFFERS = 0, 1
_TOLD = {"Waiting", "BoardSeen"}  # events that no call shows


def listing(config: Path, *, as_json: bool) -> int:
    """What is kept, newest first."""
    found = list_recordings(load(config).state)
    if as_json:
        print(json.dumps([{"run": one.run, "outcome": one.outcome, "path": str(one.path)} for one in found]))
    for one in () if as_json else found:
        print(f"{one.run:>9}  {one.outcome:<6}  {one.path}")
    return _SAME


def replay(which: str, config: Path, *, as_json: bool) -> int:
    """Replays a run, by its number in the journal or by its file. Returns the exit code."""
    # A number is a run of this station; all else is a file, for which no station is needed.
    data = recording_of(load(config).state, int(which)) if which.isdecimal() else read_file(Path(which))
    try:
        recording = read_recording(data)
        replayed = asyncio.run(replay_recording(recording))
    except RecordingError as error:
        raise ConfigError(f"{which}: {error}", remedy="Give a file that an agent recorded, whole.") from error
    if as_json:
        print(
            json.dumps(
                {
                    "same": replayed.same,
                    "differences": replayed.differences,
                    "recorded": result_object(recording.result),
                    "replayed": result_object(replayed.result),
                    "lines": [asdict(line) for line in recording.lines],
                }
            )
        )
    else:
        for text in lines(recording, replayed):
            print(plain(text))
    return _SAME if replayed.same else _DIFFERS


def lines(recording: Recording, replayed: Replayed) -> Iterator[str]:
    """The run in words."""
    basis = recording.basis
    yield f"{basis.found.chip_id} on {basis.port}, {basis.work_order}"
    yield f"{basis.started_at}, agent {basis.version}"
    yield ""
    for line in recording.lines:
        yield from _line(line)
    yield ""
    yield f"recorded: {_verdict(recording.result)}"
    yield f"replayed: {'the same' if replayed.same else _verdict(replayed.result)}"
    for difference in replayed.differences:
        yield f"  {difference}"


def _line(line: Call | Happened) -> Iterator[str]:
    if isinstance(line, Happened):
        if line.event in _TOLD:
            yield f"{line.at_s:>9.3f} s  {' '.join(str(value) for value in line.members.values())}"
    elif line.of not in {JOURNAL, CHANCE}:
        took = f"{line.of}: {line.call}, {line.ended_s - line.asked_s:.3f} s"
        yield f"{line.ended_s:>9.3f} s  {took}{_end(line)}"


def _end(call: Call) -> str:
    if call.cancelled:
        return ", broken off"
    if call.failure is None:
        return ""
    return f": {call.failure.code or call.failure.kind} {call.failure.detail}".rstrip()


def _verdict(result: Result) -> str:
    if result.outcome is Outcome.PASS:
        return f"PASS {result.serial_number}"
    return f"{result.outcome} {result.code} at {result.step}: {result.detail}"
