"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("/etc/signerd/signerd.toml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="signerd's configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
