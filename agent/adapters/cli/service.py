"""`service`: the station on Windows without anybody logged in. On Linux systemd's unit does the same."""

from __future__ import annotations

import json as json_text
import re
import sys
from pathlib import Path

import typer

from agent.adapters.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    OrderOption,
    print_result,
)
from agent.config import Config, load
from agent.core.service_account import ACCOUNT, SERVICE
from agent.errors import ConfigError

service_app = typer.Typer(
    help="The station as a service of Windows: it runs from the start of the machine.", no_args_is_help=True
)
# How the service's command ends: what agent.adapters.service.host takes, in this order.
_ARGUMENTS = re.compile(r' service host --order (?P<order>\S+) --config "(?P<config>[^"]+)"$')
_NOT_RUNNING = 1


@service_app.command()
def install(order: OrderOption, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False) -> None:
    """Installs the service and starts it, or gives the one that is there another order."""
    if sys.platform != "win32":
        raise _elsewhere()
    from agent.adapters.service import manager  # noqa: PLC0415 -- Windows alone
    from agent.adapters.service.station import longest_stop_s  # noqa: PLC0415 -- it loads what `run` does

    path = config.absolute()
    loaded = load(path)
    folders = _let_use(path, loaded)
    manager.install(_command(path, order), stop_s=longest_stop_s(loaded))
    text = f"{SERVICE} is installed and starts with this machine.\nIts account, {ACCOUNT}, may use:\n"
    text += "".join(f"  {folder}\n" for folder in folders)
    text += "See how it is:  birthmark-agent service status"
    value = {"service": SERVICE, "account": ACCOUNT, "folders": [str(folder) for folder in folders]}
    print_result(text, value, as_json=json)


def _let_use(path: Path, config: Config) -> list[Path]:
    """Gives the service's account what it reads and writes. Raises ConfigError."""
    if sys.platform != "win32":
        raise _elsewhere()
    from agent.adapters import windows_rights  # noqa: PLC0415 -- Windows alone

    label = None if config.label is None else config.label.folder
    named = [path.parent, config.state, config.log.folder, label, config.results.folder]
    folders = list(dict.fromkeys(folder.absolute() for folder in named if folder is not None))
    try:
        for folder in folders:
            windows_rights.let_service_use(folder)
        windows_rights.make_private(config.signerd.key)
    except OSError as error:
        detail = f"the rights of {error.filename or path.parent} cannot be set: {error.strerror}"
        remedy = 'Run it in a prompt of an administrator (right click, "Run as administrator").'
        raise ConfigError(detail, remedy=remedy) from error
    return folders


def _command(config: Path, order: str) -> str:
    """What the service manager runs: quoted, for there are blanks in `Program Files`."""
    frozen = bool(getattr(sys, "frozen", False))  # deploy/onefile
    program = f'"{sys.executable}"' if frozen else f'"{sys.executable}" -I -m agent'
    return f'{program} service host --order {order} --config "{config}"'


@service_app.command()
def status(*, json: JsonOption = False) -> None:
    """Shows how the service is, and why it ended by itself. Ends with 0 if it runs."""
    if sys.platform != "win32":
        raise _elsewhere()
    from agent.adapters.service import failures, manager  # noqa: PLC0415 -- Windows alone

    found = manager.look()
    given = _ARGUMENTS.search(found.command)
    order, config = (given["order"], Path(given["config"])) if given else (None, None)
    failure = None if config is None else failures.last(config.parent)
    if json:
        value = {
            "service": SERVICE,
            "state": found.state,
            "pid": found.pid,
            "exit_code": found.exit_code,
            "automatic": found.automatic,
            "account": found.account,
            "order": order,
            "config": None if config is None else str(config),
            "failure": failure,
        }
        print(json_text.dumps(value))
    else:
        by_itself = "starts with the machine" if found.automatic else "does not start with the machine"
        process = f", process {found.pid}" if found.pid else ""
        print(f"{SERVICE}: {found.state}{process}, {by_itself}")
        print(f"  account        {found.account}")
        print(f"  work order     {order or f'none: it runs {found.command}'}")
        print(f"  configuration  {config or '-'}")
        if failure is not None:
            print(f"  last failure   {failure['time']}  {failure['detail']}")
            print(f"                 {failure['remedy']}")
    raise typer.Exit(0 if found.state == "running" else _NOT_RUNNING)


@service_app.command()
def remove(*, json: JsonOption = False) -> None:
    """Stops the service, with its boards parked, and takes it away. The station's files stay."""
    if sys.platform != "win32":
        raise _elsewhere()
    from agent.adapters.service import manager  # noqa: PLC0415 -- Windows alone

    manager.remove()
    print_result(f"{SERVICE} is removed. The station's files stay.", {"service": SERVICE}, as_json=json)


def _elsewhere() -> ConfigError:
    return ConfigError(
        "a service of Windows is made on Windows",
        remedy="On Linux systemd runs the station: systemctl enable --now birthmark-agent@ORDER",
    )
