"""`signerd database …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from signerd.adapters.store import Verified

app = typer.Typer(
    help="The database: its schema, and whether it is what the ledger says.", no_args_is_help=True
)

_SHOWN = 50  # findings, for people


@app.command()
def verify(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Compares the whole database with the ledger, row by row and entry by entry, and changes nothing.

    It may run beside signerd. Exit code 1: something differs. It needs no token. Entries that no checkpoint
    covers yet are counted: signerd's start tells whose they are.
    """
    from dataclasses import asdict

    from signerd.adapters.cli.exits import Exit
    from signerd.adapters.cli.output import print_json, said_steps
    from signerd.adapters.head_file import load_vkey
    from signerd.adapters.store import verify_database
    from signerd.config import database_url, load

    settings, base = load(config), config.resolve().parent
    with said_steps() as say:
        verified = verify_database(
            database_url(settings, base),
            settings.ledger.head,
            load_vkey(settings.ledger.vkey),
            lambda step: say(step.name, step.done, step.total),
        )
    found = verified.found
    if as_json:
        print_json(
            {
                "entries": verified.size,
                "covered_entries": verified.covered,
                "log_is_whole": verified.log_is_whole,
                "compared": dict(found.counts),
                "not_compared": dict(found.unproven),
                "finding_count": found.total,
                "findings": [asdict(each) | {"remedy": each.remedy.value} for each in found.findings],
            }
        )
    else:
        for line in _report(verified):
            typer.echo(line)
    if found.total:
        raise typer.Exit(Exit.FAILED)


@app.command()
def rebuild(
    *,
    copy: Annotated[
        Path,
        typer.Option("--from", help="The copy of the log: a folder of its tiles, or an auditor's export."),
    ],
    new: Annotated[Path, typer.Option("--to", help="The new database: a file that is not there yet.")],
    parts: Annotated[
        list[Path] | None,
        typer.Option(
            "--parts",
            help="A database of before, which has the bytes of which entries have digests. Again for each."
            " Default: the one of the settings.",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes a new database from a copy of the log, while signerd is stopped. It replaces none.

    What the log's signed entries say is taken, and nothing that they do not bear out. Certificates, evidence,
    texts and lists of chips come from databases of before, as far as the digests in entries fit. The new
    database is there only if nothing is missing, and if it is what the ledger says.
    """
    from contextlib import closing

    from signerd.adapters.cli.output import print_result, said_steps
    from signerd.adapters.head_file import PlaceOfBefore, load_vkey
    from signerd.adapters.store import CopyOfLog, rebuild_database
    from signerd.adapters.store.verification.verify import claimed
    from signerd.config import database_url, load

    settings, base = load(config), config.resolve().parent
    first = load_vkey(settings.ledger.vkey)
    before = [f"sqlite:///{each.absolute()}" for each in parts or ()] or [database_url(settings, base)]
    # Every signerd that runs on the database of before holds the second place.
    with closing(PlaceOfBefore(settings.ledger.head)) as place, said_steps() as say:
        published = claimed(place.note, "the second place")
        rebuilt = rebuild_database(
            CopyOfLog.read(copy),
            before,
            new.absolute(),
            first,
            published,
            lambda step: say(step.name, step.done, step.total),
        )
    print_result(
        f"{new} has {rebuilt.entries} entries and {rebuilt.boards} certificates, and is what the ledger says",
        {"file": str(new), "entries": rebuilt.entries, "certificates": rebuilt.boards},
        as_json=as_json,
    )


def _report(verified: Verified) -> Iterator[str]:
    found = verified.found
    yield f"{verified.size} entries, {verified.covered} of them under the signed checkpoint"
    yield "compared: " + ", ".join(f"{count} {what}" for what, count in sorted(found.counts.items()))
    for what, count in sorted(found.unproven.items()):
        yield f"in no entry, and not compared: {count} {what}"
    if beyond := verified.size - verified.covered:
        yield f"not under the checkpoint: {beyond} entries. signerd's start tells whose they are"
    for each in found.findings[:_SHOWN]:
        yield f"differs: {each}"
    if found.total > _SHOWN:
        yield f"{found.total - _SHOWN} findings more: --json has {len(found.findings)} of {found.total}"
    for remedy in dict.fromkeys(each.remedy for each in found.findings):
        yield f"what to do: {remedy}"
    if not found.total:
        yield "the database is what the ledger says"


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
