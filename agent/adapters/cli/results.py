"""`results`: rows of the journal on standard output."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from agent.adapters.cli.period import moment
from agent.adapters.cli.text_output import machine_readable
from agent.adapters.results.files import read_results
from agent.config import Config
from agent.core.result_row import CSV_HEADER, csv_line, json_line

_MARK = "\ufeff"


def show(
    config: Config, since: str, until: str | None, order: str | None, *, as_csv: bool, marked: bool
) -> None:
    """Prints the rows of boards that ended in that time, oldest first: JSON lines, or CSV (RFC 4180, UTF-8).

    `marked`: the CSV begins with a byte order mark.
    """
    now = datetime.now(UTC)
    rows = read_results(config.state, moment(since, now), moment(until, now) if until else "~")
    if as_csv:
        machine_readable()  # and records end as RFC 4180 has it, everywhere
        sys.stdout.write((_MARK if marked else "") + CSV_HEADER)
    for row in rows:
        if order is None or row.work_order == order:
            sys.stdout.write(csv_line(row) if as_csv else json_line(row))
