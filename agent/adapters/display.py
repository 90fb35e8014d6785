"""The live table on a terminal: a line and a progress bar for each port, verdicts, a summary at the end.

Only this module imports rich, and only a station with a terminal imports this module.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent.core.recipe import Recipe
from agent.core.result import Outcome, Result, Summary
from agent.ports import QueuedStamp

_COLOUR = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.PARKED: "yellow"}
_BESIDE_RECIPE = 2  # session and record: signerd's part of the way


class LiveTable:
    """See `agent.ports.Progress`. Use it as a context manager."""

    def __init__(self, console: Console, recipe: Recipe) -> None:
        self._console = console
        self._total = len(recipe.steps) + _BESIDE_RECIPE
        self._tasks: dict[str, TaskID] = {}
        self._table = Progress(
            TextColumn("{task.fields[port]}"),
            TextColumn("{task.fields[chip]}"),
            BarColumn(bar_width=24, finished_style="green"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
        )

    def __enter__(self) -> Self:
        self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.stop()

    def board_seen(self, port: str, chip_id: str) -> None:
        """See `Progress`."""
        task = self._task(port)
        # Resetting a task forgets its fields: the port's name is given again. It keeps the moment at
        # which the board before was finished, and the time shown would stand still.
        self._table.tasks[self._table.task_ids.index(task)].stop_time = None
        self._table.reset(task, total=self._total, port=_plain(port), chip=_plain(chip_id))

    def step_started(self, port: str, step: str) -> None:
        """See `Progress`."""
        self._table.update(self._task(port), description=_plain(step))

    def step_progress(self, port: str, step: str, done: int, total: int) -> None:
        """See `Progress`."""
        share = f"{100 * done // total} %" if total > 0 else ""
        self._table.update(self._task(port), description=_plain(f"{step} {share}"))

    def step_done(self, port: str, step: str, seconds: float) -> None:
        """See `Progress`."""
        self._table.update(self._task(port), advance=1, description=_plain(f"{step} {seconds:.2f} s"))

    def waiting(self, port: str, detail: str) -> None:
        """See `Progress`."""
        self._table.update(self._task(port), description=f"[yellow]waits: {_plain(detail)}[/]")

    def board_finished(self, result: Result) -> None:
        """See `Progress`."""
        task = self._task(result.port)
        colour = _COLOUR[result.outcome]
        text = f"[bold {colour}]{result.outcome}[/] {_plain(result.serial_number)}"
        if result.outcome is Outcome.PASS:
            self._table.update(task, completed=self._total, description=text)
        else:
            self._table.update(task, description=f"{text} {_plain(result.code)} at {_plain(result.step)}")
            self._table.console.print(
                f"[{colour}]{result.outcome}[/] {_plain(result.port)} {_plain(result.chip_id)}: "
                f"{_plain(result.detail)}. {_plain(result.remedy)}"
            )
        self._table.stop_task(task)

    def stamp_settled(self, queued: QueuedStamp, code: str) -> None:
        """See `Progress`."""
        verdict = (
            f"[bold red]FAIL[/] stamp refused: {_plain(code)}" if code else "[green]PASS[/] stamp recorded"
        )
        self._table.console.print(f"{_plain(queued.serial_number)} ({_plain(queued.chip_id)}): {verdict}")

    def summary(self, summary: Summary) -> None:
        """Ends the table; prints counts, yield and times below it."""
        self._table.stop()
        table = Table("boards", "passed", "failed", "parked", "yield", "median", title="Summary")
        table.add_row(
            str(summary.boards),
            str(summary.passed),
            str(summary.failed),
            str(summary.parked),
            f"{summary.yield_percent:.1f} %",
            f"{summary.median_s:.2f} s",
        )
        self._console.print(table)
        for step, seconds in summary.step_median_s.items():
            self._console.print(f"  {step:<10} {seconds:8.3f} s (median)")
        for code, count in summary.codes.items():
            self._console.print(f"  {count} × {_plain(code)}")

    def _task(self, port: str) -> TaskID:
        if port not in self._tasks:
            self._tasks[port] = self._table.add_task("", total=self._total, port=_plain(port), chip="")
        return self._tasks[port]


def _plain(text: str) -> str:
    """The text without markup, and without control characters: boards and signerd may have made it."""
    return escape("".join(c if c.isprintable() else "?" for c in text))
