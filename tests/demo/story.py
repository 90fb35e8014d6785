"""A story that is told and checked step by step, on a terminal or into a file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.process import Program, wait_until

TOOL_TIMEOUT_S = 60.0


class Story:
    """What is told goes to the console; what does not hold is remembered in `failures`."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.failures: list[str] = []

    def tell(self, text: str) -> None:
        """A new step of the story."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def check(self, what: str, *, holds: bool, detail: str = "") -> None:
        """Prints one result and remembers failures."""
        mark = "[green]ok[/green]  " if holds else "[red]FAIL[/red]"
        self.console.print(f"  {mark} {what}" + (f": {detail}" if detail else ""))
        if not holds:
            self.failures.append(what)

    def check_tool(self, what: str, command: Sequence[str | Path], *, refuses: bool = False) -> None:
        """A tool that says yes or no with its exit code."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
        holds = (done.returncode != 0) is refuses
        self.check(what, holds=holds, detail="" if holds else (done.stdout + done.stderr).strip())

    def follow(
        self,
        agent: Program,
        steps: Collection[str],
        *,
        timeout_s: float,
        glance: Callable[[], None] = lambda: None,
    ) -> int:
        """Prints what the agent says, as it says it, until it ends; returns its exit code.

        Args:
            agent: started with --json, or without a terminal.
            steps: that are told when they are done.
            timeout_s: until it must have ended.
            glance: called again and again meanwhile.
        """
        printed = 0

        def print_news() -> None:
            nonlocal printed
            lines = agent.output().split("\n")[:-1]
            for line in lines[printed:]:
                if told := narrate(json.loads(line), steps):
                    self.console.print(f"  {told}")
            printed = len(lines)

        def ended() -> bool:
            running = agent.running()
            glance()
            print_news()
            return not running

        wait_until(ended, "the agent to end", timeout_s=timeout_s)
        return agent.wait()


def narrate(event: dict[str, Any], steps: Collection[str]) -> str:
    """A line for people where there is no terminal for the agent's live table; empty for small steps."""
    match event["event"]:
        case "board_seen":
            return f"{event['port']}: {event['chip_id']} answers"
        case "step_done" if event["step"] in steps:
            return f"{event['port']}: {event['step']} ({event['seconds']:.2f} s)"
        case "board_done" | "board_failed" | "board_parked":
            result = f"{event['outcome']} {event['serial_number']} {event['code']}".rstrip()
            return f"{event['port']}: {result} after {event['seconds']:.1f} s"
        case _:
            return ""
