"""Simulated boards (tests/boards) in a process of their own, told what to do over its standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.process import REPOSITORY, Program, wait_until


@dataclass(frozen=True, slots=True)
class Plugged:
    """A board that is on a port."""

    number: int
    chip_id: str
    port: str
    method: str


@dataclass(frozen=True, slots=True)
class BoardView:
    """What a test may see behind a board's back."""

    chip_id: str
    spki_sha256: str | None  # of its key, hexadecimal
    sealed: bool
    exchanges: int
    wire_bytes: int
    config: bytes | None


@dataclass(frozen=True, slots=True)
class VendorsTrust:
    """What signerd must be given to trust the boards, by method."""

    sections: Mapping[str, str]  # of a product file
    identities: Mapping[str, list[dict[str, str]]]  # lines of `signerd chips import-identities`


class BoardFarm:
    """Running boards. They keep their state while this process lives, and over their own resets.

    Vendors' keys are the process's too: another farm's boards are of other vendors.
    """

    def __init__(
        self, secrets: Path | None, *, trust: Path, log: Path, options: Mapping[str, object]
    ) -> None:
        """`options` are those of `python -m boards`: True is a flag, a map is written as JSON."""
        command: list[str | Path] = [sys.executable, "-m", "boards", "--trust", trust]
        if secrets is not None:
            command += ["--secrets", secrets]
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            text = json.dumps(value) if isinstance(value, Mapping) else str(value)
            command += [flag] if value is True else [flag, text]
        self.program = Program(
            command, log=log, environment={"PYTHONPATH": str(REPOSITORY / "tests")}, commanded=True
        )
        self._answers = 0
        wait_until(lambda: '{"ready"' in self.program.output(), "the boards", program=self.program)
        self.boards = [
            Plugged(line["board"], line["chip"], line["port"], line["method"])
            for line in self._lines()
            if "board" in line
        ]
        self.trust = VendorsTrust(**json.loads(trust.read_text(encoding="utf-8")))

    @property
    def ports(self) -> list[str]:
        """Device paths, in the order of the chips."""
        return [board.port for board in self.boards]

    @property
    def methods(self) -> tuple[str, ...]:
        """Of evidence, in the order of the boards, each once."""
        return tuple(dict.fromkeys(board.method for board in self.boards))

    def view(self, number: int) -> BoardView:
        """The board as it stands now."""
        shown = self.tell(number, show=True)
        config = shown["config"]
        return BoardView(
            chip_id=shown["chip"],
            spki_sha256=shown["spki_sha256"],
            sealed=shown["sealed"],
            exchanges=shown["exchanges"],
            wire_bytes=shown["wire_bytes"],
            config=None if config is None else bytes.fromhex(config),
        )

    def tell(self, number: int, **command: object) -> dict[str, Any]:
        """Sends one command (see `python -m boards`) and returns its answer."""
        self.program.tell(json.dumps({"board": number, **command}))
        self._answers += 1
        wait_until(lambda: len(self._replies()) >= self._answers, "a board's answer", program=self.program)
        reply = self._replies()[self._answers - 1]
        assert reply["ok"], reply
        return reply

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
