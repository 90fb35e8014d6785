"""What is printed: tables and a progress bar on a terminal, JSON lines otherwise or with `--json`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from auditor.cli.values import BASES, finding_values, report_values
from auditor.core.findings import Finding
from auditor.ports import Progress as ProgressCall
from auditor.verify import Report

_PROGRESS_EVERY_S = 5.0  # in JSON lines
_SHOWN = 160  # characters of a finding's values on a terminal


class Output:
    """Where a command's results go."""

    def __init__(self, *, as_json: bool) -> None:
        self.console = Console()
        self._json = as_json or not self.console.is_terminal

    def line(self, event: str, values: Mapping[str, Any]) -> None:
        """One JSON object on a line of its own."""
        sys.stdout.write(json.dumps({"event": event} | dict(values), ensure_ascii=True) + "\n")
        sys.stdout.flush()

    def things(self, event: str, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
        """A list: a table of some columns, or all members as JSON lines."""
        if self._json:
            for row in rows:
                self.line(event, row)
            return
        table = Table()
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")  # ids and digests are never cut
        for row in rows:
            table.add_row(*(escape(_cell(row[column])) for column in columns))
        self.console.print(table)

    def thing(self, event: str, values: Mapping[str, Any]) -> None:
        """One thing: two columns, or a JSON line."""
        if self._json:
            self.line(event, values)
            return
        table = Table(show_header=False)
        table.add_column()
        table.add_column(overflow="fold")
        for key, value in values.items():
            table.add_row(key.replace("_", " "), escape(_cell(value)))
        self.console.print(table)

    def findings(self, findings: Iterable[Finding]) -> None:
        """Findings, each with what was expected and what was found."""
        for finding in findings:
            if self._json:
                self.line("finding", finding_values(finding))
                continue
            where = "" if finding.index is None else f" entry {finding.index}"
            board = "" if finding.serial_number is None else f" board {finding.serial_number}"
            head = escape(f"{finding.code.value} {finding.code.title}:{where}{board}: {finding.detail}")
            self.console.print(f"[bold red]{head}[/]", highlight=False)
            for label, value in (("expected", finding.expected), ("found", finding.found)):
                if value:
                    self.console.print(escape(f"     {label}: {value[:_SHOWN]}"), highlight=False)

    def summary(self, report: Report) -> None:
        """The outcome of a run."""
        values = report_values(report)
        self.findings(report.new)
        if self._json:
            self.line("summary", values)
            return
        orders, kept, alarms = values.pop("orders"), values.pop("findings"), values.pop("alarms")
        evidence, one_chip = values.pop("evidence"), values.pop("one_chip")
        self.thing("summary", values)
        if evidence:
            rows = [
                dict.fromkeys(BASES, 0) | {"method": method} | counts for method, counts in evidence.items()
            ]
            self.things("evidence", rows, ("method", "certificates", *BASES))
        if orders:
            columns = ("work_order", "product", "quantity", "boards", "stamped", "revoked", "level")
            self.things("order", orders, columns)
        for alarm in alarms:
            text = f"the key of board {alarm['serial_number']} shares a prime with another: revoke it"
            where = escape(f"entry {alarm['entry']}: ")
            self.console.print(f"[bold yellow]{where}{escape(text)}[/]", highlight=False)
        for shared in one_chip:
            earlier, later = shared["entries"]
            text = f"entry {later}, of form 1: the chip is that of entry {earlier} ({shared['anchor']})"
            self.console.print(f"[yellow]{escape(text)}[/]", highlight=False)
        earlier = len(kept) - len(report.new)
        if earlier:
            self.console.print(f"[bold red]{earlier} findings of earlier runs stand: see `findings`[/]")
        verdict = "[bold green]nothing is off[/]" if report.clean else f"[bold red]{len(kept)} findings[/]"
        if report.acknowledged and not report.clean:
            verdict = f"[bold yellow]{len(kept)} findings, all acknowledged: see `findings`[/]"
        self.console.print(verdict)

    @contextlib.contextmanager
    def progress(self) -> Iterator[ProgressCall]:
        """A function to report progress to."""
        if self._json:
            yield self._progress_lines()
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            tasks: dict[str, Any] = {}

            def update(phase: str, done: int, total: int) -> None:
                if phase not in tasks:
                    tasks[phase] = bar.add_task(phase, total=total)
                bar.update(tasks[phase], completed=done, total=total)

            yield update

    def _progress_lines(self) -> ProgressCall:
        last = time.monotonic()

        def update(phase: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _PROGRESS_EVERY_S:
                last = time.monotonic()
                self.line("progress", {"phase": phase, "done": done, "total": total})

        return update


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(_cell(item) for item in value) or "-"
    return str(value)
