"""`signerd database …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(help="The database: its schema.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """With one command alone, typer would leave out its name."""


@app.command()
def upgrade(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Brings the database of an earlier version to this one's schema, while signerd is stopped.

    Back it up first: there is no way back but the backup. If it is interrupted, run it again: it goes on.

    It names chips with certificates under several names, and counts those that no list of the ledger has.
    """
    import sys
    from contextlib import closing
    from dataclasses import asdict

    import structlog

    from signerd.adapters.cli.output import counted, print_json
    from signerd.adapters.head_file import HeadFile, load_vkey
    from signerd.adapters.store import demand_covered, known_log_keys, upgrade_database
    from signerd.config import database_url, load

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings, base = load(config), config.resolve().parent
    url = database_url(settings, base)
    keys = known_log_keys(url, load_vkey(settings.ledger.vkey))
    # Every signerd that runs on this database holds the second place.
    with (
        closing(HeadFile(settings.ledger.head, keys)) as second_place,
        counted("reading evidence again") as advance,
    ):
        demand_covered(url, second_place.checkpoint)
        upgraded = upgrade_database(url, advance)
    if as_json:
        found = [] if upgraded is None else [asdict(chip) for chip in upgraded.merged]
        schema, unproven = (None, {}) if upgraded is None else (upgraded.schema, dict(upgraded.unproven))
        print_json({"from_schema": schema, "merged": found, "unproven": unproven})
        return
    if upgraded is None:
        typer.echo("the database has the newest schema already")
        return
    typer.echo(f"upgraded the database from schema {upgraded.schema}")
    for merged in upgraded.merged:
        typer.echo(str(merged))
    if upgraded.merged:
        typer.echo(
            f"{len(upgraded.merged)} boards more than chips: see docs/operations.md, 'Two names, one chip'"
        )
    for table, count in upgraded.unproven.items():
        typer.echo(
            f"{count} chips in the table {table} are of no list in the ledger, and signerd refuses them: see"
            " docs/operations.md, 'The tables are not what the ledger says'"
        )
