"""`signerd witness …`: who cosigns the log, and how each of them stands."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import typer

from signerd.adapters.cli.exits import Exit
from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(help="Witnesses that cosign the log's checkpoints.", no_args_is_help=True)


@app.command()
def keys(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Prints the verifier keys of the witnesses in the settings, one a line: the file for stations and
    auditors."""
    from signerd.adapters.cli.output import print_json
    from signerd.config import load

    settings = load(config)
    vkeys = [witness.vkey for witness in settings.witnesses]
    if as_json:
        print_json({"vkeys": vkeys, "required": settings.publication.witnesses_required})
        return
    for vkey in vkeys:
        typer.echo(vkey)


@app.command("list")
def list_witnesses(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists them. Exit code 1 if one of them saw another log than this one."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json

    with administration(config) as daemon:
        answer = daemon.ListWitnesses(admin_pb2.ListWitnessesRequest())
    if as_json:
        print_json(plain(answer))
    else:
        for witness in answer.witnesses:
            cosigned = (
                f"cosigned {witness.cosigned_size} entries" if witness.cosigned_size else "cosigned none"
            )
            trouble = f"{'ALARM: ' if witness.alarm else ''}{witness.trouble or 'ok'}"
            typer.echo(f"{witness.name}  {witness.url}  {cosigned}  {trouble}")
        if not answer.witnesses:
            typer.echo("no witnesses: name them in [[witnesses]] (docs/operations.md)")
    if any(witness.alarm for witness in answer.witnesses):
        raise typer.Exit(Exit.FAILED)
