"""What several commands have: options, how a result is said, and with which code an error ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from agent.config import is_name
from agent.errors import AgentError, ConfigError, JournalUnusable, SignerUnavailable


def _order(name: str) -> str:
    if not is_name(name):
        raise typer.BadParameter("1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return name


DEFAULT_CONFIG = Path(
    r"C:\ProgramData\Birthmark\agent.toml" if sys.platform == "win32" else "/etc/birthmark-agent/agent.toml"
)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The station's agent.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")]
OrderOption = Annotated[str, typer.Option("--order", help="The work order.", callback=_order)]


def print_result(text: str, value: Mapping[str, object], *, as_json: bool) -> None:
    """What a command did: sentences for people, or its parts for machines."""
    print(json.dumps(value) if as_json else text)


def exit_code(error: AgentError) -> int:
    """The process's exit code for an error."""
    if isinstance(error, ConfigError | JournalUnusable):
        return 3
    if isinstance(error, SignerUnavailable):  # one that only a person can mend is no signerd that is away
        return 3 if error.stops_line else 4
    return 1
