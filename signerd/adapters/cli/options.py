"""Options that several commands share."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

from signerd.core.names import is_administrator
from signerd.errors import Code, Refused

DEFAULT_CONFIG = Path("/etc/signerd/signerd.toml")

# Read by `config.load`, whose errors name the remedy.
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", readable=False, help="signerd's configuration file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the ledger. Default: the user who calls.")
]


def caller() -> str:
    """The user who calls, through sudo too. Raises Refused `invalid` for a name that no entry can hold."""
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
    if not is_administrator(user):  # of a domain, for example
        raise Refused(
            Code.INVALID, f"the ledger cannot hold the user's name {user!r}: say with --by who does it"
        )
    return user
