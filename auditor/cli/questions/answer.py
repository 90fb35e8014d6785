"""How an answer is printed: row by row, and with what it rests on.

JSON lines: the first is `as_of`. CSV: the rows on standard output, and what they rest on on standard error.
On a terminal a table, of the first rows alone.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from auditor.adapters.questions.reading import AsOf, Reading, Rows
from auditor.cli.output import Output
from auditor.cli.questions.options import Level
from auditor.config import load
from auditor.core.questions.cells import csv_cell, shown
from auditor.core.questions.kinds import Kinds, firmware
from auditor.core.questions.periods import Period, age_s, period
from auditor.errors import Malformed

SHOWN = 1_000  # rows of a table; --json and --csv have all


class Answer:
    """Where a question's answer goes."""

    def __init__(self, *, as_json: bool, as_csv: bool) -> None:
        if as_json and as_csv:
            raise typer.BadParameter("either --json or --csv")
        self._output = Output(as_json=as_json)
        self._json = not as_csv and (as_json or not self._output.console.is_terminal)
        self._csv = as_csv

    def rows(
        self,
        event: str,
        as_of: AsOf,
        rows: Rows,
        columns: Sequence[str],
        shown_: Sequence[str],
    ) -> None:
        """Prints them, and closes them, however that ends: a reader may go before the last row.

        Args:
            event: of a JSON line.
            as_of: what they rest on.
            rows: one by one; each has all columns.
            columns: of CSV.
            shown_: columns of a table.
        """
        with closing(rows):
            self._rows(event, as_of, rows, columns, shown_)

    def _rows(
        self, event: str, as_of: AsOf, rows: Rows, columns: Sequence[str], shown_: Sequence[str]
    ) -> None:
        if self._json:
            self._output.line("as_of", asdict(as_of))
            for row in rows:
                self._output.line(event, row)
        elif self._csv:
            typer.echo(as_of.text, err=True)
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow([csv_cell(row[name]) for name in columns])
        else:
            self._table(rows, shown_)
            self._output.console.print(escape(as_of.text), highlight=False)

    def _table(self, rows: Iterator[Mapping[str, Any]], columns: Sequence[str]) -> None:
        table = Table()
        for name in columns:
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in islice(rows, SHOWN):
            table.add_row(*(escape(shown(row[name])) for name in columns))
        self._output.console.print(table)
        if next(rows, None) is not None:
            self._output.console.print(f"and more than these {SHOWN}: --csv or --json prints all")


@contextmanager
def asked(config: Path) -> Iterator[tuple[Reading, AsOf]]:
    """The state that the configuration names. Raises ConfigError, NotFound."""
    with Reading.open(load(config).state) as reading:
        yield reading, reading.as_of()


def station_uri(config: Path, name: str) -> str:
    """A station's URI, of itself or of `site/station`; empty stays empty."""
    if not name or "://" in name:
        return name
    return f"birthmark://{load(config).deployment}/station/{name}"


def period_of(first: str, last: str) -> Period:
    """Of the options. Raises BadParameter."""
    try:
        return period(first, last)
    except Malformed as error:
        raise typer.BadParameter(str(error)) from error


def seconds_of_age(text: str) -> int:
    """Of the option. Raises BadParameter."""
    try:
        return age_s(text)
    except Malformed as error:
        raise typer.BadParameter(str(error)) from error


def kinds_of(versions: Sequence[str] | None, level: Level | None, method: str, product: str) -> Kinds:
    """Of the options. Raises BadParameter."""
    try:
        return Kinds(firmware(versions or ()), "" if level is None else level.value, method, product)
    except Malformed as error:
        raise typer.BadParameter(str(error)) from error
