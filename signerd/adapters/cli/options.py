"""Options that several commands share."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("/etc/signerd/signerd.toml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="signerd's configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the ledger. Default: the user who calls.")
]


def caller() -> str:
    """The user who calls, through sudo too."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
