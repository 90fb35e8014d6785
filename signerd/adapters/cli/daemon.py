"""`signerd run` and `signerd check-config`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, PinOption

if TYPE_CHECKING:
    from signerd.config import Config

# run(read the configuration, its directory, announce)
Run = Callable[[Callable[[], "Config"], Path, Callable[[str], None]], None]


def run_command(run: Run) -> Callable[..., None]:
    """`signerd run`, with the daemon that `__main__` wires."""

    def command(config: ConfigOption = DEFAULT_CONFIG) -> None:
        """Runs the daemon until SIGTERM or SIGINT. SIGHUP: reads certificate, limits and log level again."""
        from signerd.config import load

        file = config.resolve()
        run(lambda: load(file), file.parent, _announce)

    return command


def _announce(line: str) -> None:
    """On standard output, unless nobody reads it."""
    from signerd.adapters.line_writer import write_within

    if sys.stdout is not None:  # started without one
        write_within(sys.stdout.fileno(), f"{line}\n")


def check_config(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    login: Annotated[
        bool, typer.Option("--login", help="Also log in to the token. A wrong PIN counts.")
    ] = False,
    pin: PinOption = None,
    dials: Annotated[
        list[str] | None,
        typer.Option("--dials", help="A name that stations dial, beside server.names. Again for each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Checks all that `run` needs, and starts nothing."""
    from datetime import UTC, datetime

    from signerd.adapters.checks import Check, all_checks, login_check
    from signerd.adapters.cli.output import print_json
    from signerd.adapters.pin import absolute
    from signerd.config import load
    from signerd.core.server_names import server_names
    from signerd.errors import ConfigError, NotNow

    try:
        dialled = server_names(dials or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if pin is not None and not login:
        raise typer.BadParameter("--pin goes with --login")
    settings, base = load(config), config.resolve().parent
    logging_in = (login_check(settings, base, None if pin is None else absolute(pin)),) if login else ()
    checks: tuple[Check, ...] = all_checks(settings, base, datetime.now(UTC), dialled)
    found: list[dict[str, object]] = []
    wrong: list[ConfigError] = []
    configuration = Check("configuration", lambda: str(config))
    for check in (configuration, *checks, *logging_in):
        try:
            said, passed = check.run(), True
        except ConfigError as error:
            wrong.append(error)
            said, passed = str(error), False
        found.append({"name": check.name, "passed": passed, "said": said})
        if not as_json:
            typer.echo(f"{'ok    ' if passed else 'WRONG '} {check.name}: {said}")
    if as_json:
        print_json({"passed": not wrong, "checks": found})
    if wrong:
        lasting = any(not isinstance(error, NotNow) for error in wrong)
        raise (ConfigError if lasting else NotNow)(f"{len(wrong)} of the checks failed")
