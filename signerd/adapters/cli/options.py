"""Options that several commands share."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

from signerd.core.names import is_administrator
from signerd.errors import Code, Refused
from signerd.program import version_text

DEFAULT_CONFIG = Path("/etc/signerd/signerd.toml")

# Read by `config.load`, whose errors name the remedy.
ConfigOption = Annotated[Path, typer.Option("--config", "-c", readable=False, help="signerd's signerd.toml.")]
DEFAULT_KEY_HOLDER = Path("/etc/signerd-key/keyholder.toml")
KeyHolderOption = Annotated[
    Path,
    typer.Option(
        "--key-holder",
        readable=False,
        help="The settings file of the service that has the token.",
    ),
]


def _from_here(source: str | None) -> str | None:
    """A path in it is seen from the folder at hand, and not from that of the settings."""
    from signerd.adapters.pin import absolute  # noqa: PLC0415 -- so that --help comes at once

    return None if source is None else absolute(source)


PinOption = Annotated[
    str | None,
    typer.Option(
        "--pin",
        help="Where the PIN comes from, unless as in the settings: prompt, file:PATH or credential:NAME.",
        callback=_from_here,
    ),
]
ModuleOption = Annotated[
    str | None, typer.Option("--module", help="The token's PKCS#11 module. Default: that of [hsm].")
]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="The token's label or PKCS#11 URI. Default: that of [hsm].")
]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option("--hsm-env", help="NAME=VALUE for the module's environment. Again for each variable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the ledger. Default: the user who calls.")
]


_SAID: ContextVar[str | None] = ContextVar("by", default=None)  # a process gives one command


def _print_version(asked: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if asked:
        print(version_text())
        raise typer.Exit


def remember(
    by: ByOption = None,
    *,
    version: Annotated[  # noqa: ARG001 -- its callback prints, and ends
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Prints the version of the program."
        ),
    ] = False,
) -> None:
    """What stands before the command: who gives it."""
    _SAID.set(by)


def administrator() -> str:
    """Who gives this command, for the ledger: as `signerd --by` says, else the user who calls.

    Raises Refused `invalid` for a user's name that no entry can hold.
    """
    said = _SAID.get()
    if said is not None:
        return named(said)
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or _name_of(os.getuid())
    if not is_administrator(user):  # of a domain, for example
        detail = f"the ledger cannot hold the user's name {user!r}: say who does it: signerd --by NAME …"
        raise Refused(Code.INVALID, detail)
    return user


def named(by: str) -> str:
    """The name that `--by` gave. Raises Refused `invalid` for one that no entry can hold."""
    if not is_administrator(by):
        raise Refused(Code.INVALID, f"--by must be 1 to 64 of [A-Za-z0-9._@-], and is {by[:80]!r}")
    return by


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user may have a number alone
        return f"uid-{uid}"


def module_of(given: str) -> Path:
    """What `--module` gave: a path, or the name of a library that the loader finds."""
    return Path(given).absolute() if "/" in given else Path(given)


def environment(given: Iterable[str] | None) -> dict[str, str]:
    """What `--hsm-env` gave. Raises typer.BadParameter for what is not NAME=VALUE."""
    found = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"--hsm-env {each!r} is not NAME=VALUE")
        found[name] = value
    return found
