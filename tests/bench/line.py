"""What agent and signerd add to a board, and whether ports slow one another down.

Boards are simulated on lines of 115,200 baud with a known time for their key. They count the bytes that went
over their line. What agent and signerd add is the agent's time for the board, less its key and its line. A
line's bytes are those of a board that makes its key at once: polls during key generation cost no time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from harness.installation import Installation, Peer, order_toml
from harness.process import COMMANDS, Program, wait_until

BAUD = 115_200
KEYGEN_S = 2.0
BITS_A_BYTE = 10  # 8N1
TIMEOUT_S = 120.0
REPEATS = 3  # odd: a polled key is found up to one poll late, and the median evens that out


@dataclass(frozen=True, slots=True)
class LineRun:
    """Some boards at once on one agent."""

    boards: int
    wall_s: float  # from the first board's first step to the last one's end
    added_ms: list[float]  # a board
    wire_bytes: int  # of the first board
    agent_peak_mb: float

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        ordered = sorted(self.added_ms)
        return {
            "boards": self.boards,
            "wall_s": round(self.wall_s, 3),
            "wire_bytes": self.wire_bytes,
            "added_ms_p50": round(ordered[len(ordered) // 2], 1),
            "added_ms_max": round(ordered[-1], 1),
            "agent_peak_mb": round(self.agent_peak_mb, 1),
        }


def run_lines(installation: Installation, station: Peer, counts: Sequence[int]) -> list[dict[str, Any]]:
    """For each number of boards at once, the run with the median wall time."""
    alone = _run_line(installation, station, 1, name="fast", keygen_s=0.0, line_s=0.0)
    line_s = alone.wire_bytes * BITS_A_BYTE / BAUD
    lines = []
    for boards in counts:
        repeats = [
            _run_line(installation, station, boards, name=f"{repeat}", keygen_s=KEYGEN_S, line_s=line_s)
            for repeat in range(REPEATS)
        ]
        lines.append(sorted(repeats, key=lambda run: run.wall_s)[REPEATS // 2].as_json())
    return lines


def _run_line(
    installation: Installation, station: Peer, boards: int, *, name: str, keygen_s: float, line_s: float
) -> LineRun:
    name = f"line{boards:02}-{name}"
    keys = installation.personalize([f"{name}-{number:02}" for number in range(boards)])
    work_order = f"WO-{name}"
    terms = order_toml(
        work_order, quantity=boards, stations=[station.uri], serial_pattern=f"{name}-{{number}}"
    )
    installation.open_order(terms)
    farm = installation.start_boards(keys, name, baud=BAUD, keygen_seconds=keygen_s)
    command: list[str | Path] = [COMMANDS / "birthmark-agent", "run", "--config", station.config]
    command += ["--order", work_order, "--count", str(boards)]
    for port in farm.ports:
        command += ["--port", port]
    agent = installation.start(command, f"agent-{name}")
    peak = _watch(agent)
    if agent.wait() != 0:
        raise RuntimeError(f"the agent failed: {agent.describe()}")
    events = [json.loads(line) for line in agent.output().split("\n")[:-1]]
    done = {event["port"]: event["seconds"] for event in events if event["event"] == "board_done"}
    added = [(done[board.port] - keygen_s - line_s) * 1000 for board in farm.boards]
    wire_bytes = farm.view(0).wire_bytes
    farm.program.stop()
    return LineRun(boards, max(done.values()), added, wire_bytes, peak)


def _watch(agent: Program) -> float:
    """The agent's largest resident set in MB, while it runs."""
    peak = 0.0
    process = psutil.Process(agent.pid)
    deadline = time.monotonic() + TIMEOUT_S

    def ended() -> bool:
        nonlocal peak
        if agent.running():
            peak = max(peak, process.memory_info().rss / 1e6)
        return not agent.running()

    wait_until(ended, "the agent to end", timeout_s=deadline - time.monotonic())
    return peak
