"""What boards and signerd may put on the operator's terminal, and the time that it shows."""

from __future__ import annotations

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from agent.adapters.display import LiveTable
from agent.core.recipe import StepName, default_recipe
from agent.core.result import Outcome, Result

RESULT = Result("port-1", "WO-1", "CHIP-1", "BM-1", "aa", Outcome.FAIL, "stamp", "x", "no", "", 1.0, ())
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.mark.parametrize("field", ["port", "chip_id", "serial_number", "code", "detail", "remedy", "step"])
def test_no_escape_sequence_reaches_the_terminal(field: str) -> None:
    stream = io.StringIO()
    with LiveTable(Console(file=stream, force_terminal=True, width=160), default_recipe(StepName)) as table:
        table.board_seen("port-1", ESCAPE)
        table.waiting("port-1", ESCAPE)
        table.board_finished(Result(**{**asdict(RESULT), field: ESCAPE}))
    assert not any(part in stream.getvalue() for part in ("\x1b]", "\x1b[2J\u202e", "\x07", "\u202e"))
    assert "?]0;owned?" in stream.getvalue() or field in {"code", "step", "serial_number"}


class Moved(LiveTable):
    """A table whose time the test moves."""

    time_s = 0.0

    def elapsed_s(self) -> float | None:
        self._table.get_time = lambda: self.time_s
        task = self._table.tasks[0]
        task._get_time = lambda: self.time_s
        return task.elapsed


def test_time_of_the_second_board_on_a_port_runs() -> None:
    table = Moved(Console(file=io.StringIO()), default_recipe(StepName))
    table.board_seen("port-1", "A")
    table.elapsed_s()
    table.time_s = 10.0
    table.board_finished(RESULT)
    table.time_s = 100.0
    table.board_seen("port-1", "B")
    table.time_s = 107.0
    assert table.elapsed_s() == 7.0
