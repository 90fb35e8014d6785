"""`signerd key-holder …`: the key holder as a service of its own."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(
    help="The key holder as a service of its own, which signs what administrators approved.",
    no_args_is_help=True,
)
DEFAULT_SETTINGS = Path("/etc/signerd-key/keyholder.toml")
SettingsOption = Annotated[
    Path, typer.Option("--config", "-c", readable=False, help="The service's settings file.")
]


@app.command()
def run(config: SettingsOption = DEFAULT_SETTINGS) -> None:
    """Runs the service until SIGTERM or SIGINT."""
    from signerd.adapters.keyholder.service import daemon
    from signerd.adapters.keyholder.service.settings import load

    file = config.resolve()
    daemon.run(load(file), file.parent, _announce)


def _announce(line: str) -> None:
    """On standard output, unless nobody reads it."""
    from signerd.adapters.line_writer import write_within

    if sys.stdout is not None:  # started without one
        write_within(sys.stdout.fileno(), f"{line}\n")


@app.command()
def status(config: SettingsOption = DEFAULT_SETTINGS, *, as_json: JsonOption = False) -> None:
    """Shows administrators, orders, the places it certified of them, the log, and the dates of ends."""
    from datetime import UTC, datetime

    from signerd.adapters.cli.output import print_json
    from signerd.adapters.keyholder.service.settings import load
    from signerd.adapters.keyholder.service.status import read_status
    from signerd.core.ends import due

    found = read_status(load(config))
    if as_json:
        print_json(found.members())
        return
    typer.echo(f"key holder {found.name}, notes {found.notes}")
    asked = "nobody: it looks at no orders"
    if found.administrators.asked:
        asked = f"{found.administrators.threshold} of {', '.join(found.administrators.names)}"
    typer.echo(f"approvals by {asked}")
    for order in found.orders:
        state = "closed" if order.closed else f"until {order.not_after:%Y-%m-%d}"
        typer.echo(f"{order.work_order}  {order.places} of {order.share} places certified, {state}")
    last = found.checkpoint
    typer.echo("no checkpoint yet" if last is None else f"last checkpoint: {last} entries")
    soon = set(due(found.ends, datetime.now(UTC)))
    for end in found.ends:
        warned = f"  ENDS SOON: {end.remedy}" if end in soon else ""
        typer.echo(f"{end.what.value} {end.name} ends on {end.at:%Y-%m-%d}{warned}")


@app.command()
def release(
    work_order: Annotated[str, typer.Argument(help="The work order.")],
    places: Annotated[int, typer.Argument(help="How many places.", min=1)],
    *,
    config: SettingsOption = DEFAULT_SETTINGS,
    as_json: JsonOption = False,
) -> None:
    """Gives up places of an order, so that another key holder can be given them. It may run meanwhile."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.keyholder.service.settings import load
    from signerd.adapters.keyholder.service.status import release_places

    left = release_places(load(config), work_order, places)
    print_result(
        f"{left} places of {work_order} stay with this key holder, certified ones among them\n"
        "now administrators sign who gets the others: signerd order give-share",
        {"work_order": work_order, "released": places, "share": left},
        as_json=as_json,
    )


@app.command("take-over")
def take_over(
    *,
    clients: Annotated[
        list[str], typer.Option("--client", help="The user that signerd runs as. Again for each.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    settings: Annotated[
        Path, typer.Option("--to", help="The service's settings file, made in a directory of its own.")
    ] = DEFAULT_SETTINGS,
    state: Annotated[Path, typer.Option("--state", help="The directory of its notes.")] = Path(
        "/var/lib/signerd-key"
    ),
    socket: Annotated[Path, typer.Option("--socket", help="The socket on which it listens.")] = Path(
        "/run/signerd-key/socket"
    ),
    user: Annotated[
        str | None, typer.Option("--user", help="The user who is to own its files. Default: the caller.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Its name, for orders that several share.")] = "main",
    as_json: JsonOption = False,
) -> None:
    """Gives token, PIN and limits of an installation to a service of its own. signerd must not run."""
    from pydantic import ValidationError

    from signerd.adapters.cli.output import print_json
    from signerd.adapters.keyholder.service import taking_over
    from signerd.adapters.keyholder.service.settings import ServiceSettings
    from signerd.core.file_problems import in_one_line, problems
    from signerd.core.names import FIRST

    try:
        service = ServiceSettings(
            name=name,
            socket=socket.absolute(),
            notes=state.absolute() / "notes.sqlite",
            clients=tuple(clients),
        )
    except ValidationError as error:
        raise typer.BadParameter(in_one_line(problems(error))) from error
    asked = taking_over.plan(config.resolve(), settings.absolute(), service, user)
    done = taking_over.take_over(asked)
    if as_json:
        print_json(
            {
                "settings": str(done.settings),
                "open_orders": [each.order.work_order for each in done.orders],
                "places": {each.order.work_order: each.places for each in done.orders},
                "shares": {each.order.work_order: each.share for each in done.orders},
                "certificates": done.certificates,
                "administrators": list(done.administrators),
                "left": list(done.left),
            }
        )
        return
    typer.echo(f"{done.settings}: {done.certificates} certificates are noted")
    opened = [f"{each.order.work_order} ({each.places} of {each.share} places)" for each in done.orders]
    typer.echo(f"orders that count as approved: {', '.join(opened) or 'none'}")
    if name != FIRST:
        typer.echo(
            f"{name} is a new key holder: places until now were others'. If one of this name ever signed, do"
            " not start it: take another name (docs/key-holder.md)"
        )
    if not done.administrators and asked.config.approvals is None:
        typer.echo("nobody is asked for approvals: the service looks at no orders (docs/approvals.md)")
    for each in done.left:
        typer.echo(f"TO DO: {each}")
    typer.echo("start it, then signerd: systemctl start signerd-key-holder signerd")
