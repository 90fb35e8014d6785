"""`signerd clock …`: what signerd holds of its clock, and going on with one that was set right."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import typer

from signerd.adapters.cli.exits import Exit
from signerd.adapters.cli.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, administrator

app = typer.Typer(help="signerd's clock: is it right, and going on where it is.", no_args_is_help=True)


@app.command("show")
def show(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Says whether the clock is right. Exit code 1 if it is not, and signerd does not serve."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json, when

    with administration(config) as daemon:
        answer = daemon.ShowClock(admin_pb2.ShowClockRequest())
    right = answer.state == admin_pb2.CLOCK_STATE_RIGHT
    if as_json:
        print_json(plain(answer))
    else:
        typer.echo(f"{'right' if right else 'WRONG'}: {answer.detail}")
        typer.echo(f"newest entry: {when(answer.newest)}")
        if not right:
            typer.echo(
                "signerd does not serve. Set the clock right; if it is right now: signerd clock accept"
            )
    if not right:
        raise typer.Exit(Exit.FAILED)


@app.command("accept")
def accept(
    *, config: ConfigOption = DEFAULT_CONFIG, by: ByOption = None, as_json: JsonOption = False
) -> None:
    """Goes on with the clock as it is now. Look at it first: it becomes part of the ledger."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_result, when

    request = admin_pb2.AcceptClockRequest(by=by or administrator())
    with administration(config) as daemon:
        answer = daemon.AcceptClock(request)
    said = f"accepted {when(answer.clock_to)}, instead of {when(answer.clock_from)}"
    print_result(f"{said} (ledger entry {answer.ledger_index})", plain(answer), as_json=as_json)
