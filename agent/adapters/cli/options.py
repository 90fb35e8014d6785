"""Options that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path(
    r"C:\ProgramData\Birthmark\agent.toml" if sys.platform == "win32" else "/etc/birthmark-agent/agent.toml"
)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The station's agent.toml.")]
