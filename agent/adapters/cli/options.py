"""What several commands have: options, and how a result is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path(
    r"C:\ProgramData\Birthmark\agent.toml" if sys.platform == "win32" else "/etc/birthmark-agent/agent.toml"
)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The station's agent.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")]


def print_result(text: str, value: Mapping[str, object], *, as_json: bool) -> None:
    """What a command did: sentences for people, or its parts for machines."""
    print(json.dumps(value) if as_json else text)
