"""`python -m boards` or `boards.esp32` as a process, told what to do over its standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.process import REPOSITORY, Program, or_ended, wait_until


def flags(options: Mapping[str, object]) -> list[str]:
    """Options of a command line: True is a flag, a map is written as JSON."""
    arguments = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        text = json.dumps(value) if isinstance(value, Mapping) else str(value)
        arguments += [flag] if value is True else [flag, text]
    return arguments


class CommandedFarm:
    """Running boards; `said` has a line a board, then `{"ready": …}`."""

    def __init__(self, module: str, arguments: Sequence[str | Path], *, log: Path) -> None:
        """`log` is a new one: what stands in it is taken for this process's."""
        command = [sys.executable, "-m", module, *arguments]
        environment = {"PYTHONPATH": str(REPOSITORY / "tests")}
        self.program = Program(command, log=log, environment=environment, commanded=True)
        self._answers = 0
        with or_ended(self.program.stop):
            wait_until(lambda: '{"ready"' in self.program.output(), "the boards", program=self.program)
            self.said = self._lines()

    def tell(self, number: int, **command: object) -> dict[str, Any]:
        """Sends one command (see `python -m boards…`) and returns its answer, which is a good one."""
        answer = self.ask(board=number, **command)
        assert answer["ok"], answer
        return answer

    def ask(self, **command: object) -> dict[str, Any]:
        """Sends one command, good or not, and returns its answer."""
        self.program.tell(json.dumps(command))
        self._answers += 1
        wait_until(lambda: len(self._replies()) >= self._answers, "an answer", program=self.program)
        return self._replies()[self._answers - 1]

    def _replies(self) -> list[dict[str, Any]]:
        return [line for line in self._lines() if "ok" in line]

    def _lines(self) -> list[dict[str, Any]]:
        # The last piece is empty, or a line that is still being written.
        return [json.loads(line) for line in self.program.output().split("\n")[:-1]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.stop()
