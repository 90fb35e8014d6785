"""Options that several commands have, and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from auditor.ports import KeptFinding

FINDINGS, ALARMS, ACKNOWLEDGED, UNKNOWN = 1, 5, 6, 7
DEFAULT_CONFIG = Path("auditor.toml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The auditor's auditor.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")]
IdentitiesOption = Annotated[
    list[Path] | None,
    typer.Option("--identities", help="The company's own list of attestation keys. Again for each file."),
]
WorkersOption = Annotated[
    int, typer.Option(min=0, help="Processes that verify records; 1: this one alone; 0: one a processor.")
]
AgainOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of what was verified before that is looked at again.")
]


def exit_of_findings(kept: Sequence[KeptFinding]) -> None:
    """1 where a finding stands, 6 where somebody gave a reason for each."""
    if any(not item.acknowledged for item in kept):
        raise typer.Exit(FINDINGS)
    if kept:
        raise typer.Exit(ACKNOWLEDGED)
