"""`signerd calendar`: every date on which something stops."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2

_PIPE = Path("-")


def calendar(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    ics: Annotated[
        Path | None,
        typer.Option("--ics", help="Write them to this file, as an iCalendar (RFC 5545); -: print it."),
    ] = None,
) -> None:
    """Lists every date on which something stops: certificates, CRLs, orders, the last day of an order of each
    product."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json, print_table, when
    from signerd.adapters.durable_files import replace

    if ics == _PIPE and as_json:
        raise typer.BadParameter("--ics - and --json both print: give one of them")
    with administration(config) as daemon:
        answer = daemon.ListEnds(admin_pb2.ListEndsRequest())
    if ics == _PIPE:
        typer.echo(_icalendar(answer), nl=False)
        return
    if ics is not None:
        replace(ics, _icalendar(answer).encode(), 0o644)
    if as_json:
        print_json([plain(end) for end in answer.ends])
    elif ics is None:
        print_table(
            f"What ends, of {answer.deployment}",
            ("on", "", "which", "name", "what stops", "what to do before"),
            (
                (when(end.at), "SOON" if end.soon else "", end.which, end.name, end.stops, end.remedy)
                for end in answer.ends
            ),
        )
    else:
        typer.echo(f"wrote {ics}, {len(answer.ends)} events")


def _icalendar(answer: admin_pb2.ListEndsResponse) -> str:
    from datetime import UTC

    from signerd.core.ends import End, What
    from signerd.core.icalendar import calendar as icalendar

    ends = [End(What(end.which), end.name, end.at.ToDatetime(UTC)) for end in answer.ends]
    return icalendar(ends, answer.deployment, answer.now.ToDatetime(UTC))
