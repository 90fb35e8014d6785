"""Options that several commands have, and exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from auditor.adapters.enrolment import load_cosigners
from auditor.config import TrustFiles
from auditor.core.cosigners import MAX_WITNESSES, Cosigners
from auditor.errors import Malformed
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
TilesOption = Annotated[
    str,
    typer.Option(
        "--tiles",
        help="A folder or an http(s) address of published tiles, instead of signerd: entries alone.",
    ),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        metavar="VKEY",
        help="Verifier key of a witness that has to have cosigned the checkpoint. Again for each one.",
    ),
]
RequiredOption = Annotated[
    int | None,
    typer.Option("--witnesses-required", min=1, max=MAX_WITNESSES, help="How many of them; 1 if not said."),
]


def demanded(
    witness: Sequence[str] | None, required: int | None, settings: Callable[[], TrustFiles] | None
) -> Cosigners:
    """The witnesses that the command names, else those of the settings; `settings` None: it has none.

    Raises BadParameter, ConfigError.
    """
    if witness:
        try:
            return Cosigners.of(witness, required or 1)
        except Malformed as error:
            raise typer.BadParameter(f"--witness: {error}") from error
    found = Cosigners() if settings is None else load_cosigners(settings(), required)
    if required is not None and not found.witnesses:
        raise typer.BadParameter("--witnesses-required wants --witness, or trust.witnesses in the settings")
    return found


def exit_of_findings(kept: Sequence[KeptFinding]) -> None:
    """1 where a finding stands, 6 where somebody gave a reason for each."""
    if any(not item.acknowledged for item in kept):
        raise typer.Exit(FINDINGS)
    if kept:
        raise typer.Exit(ACKNOWLEDGED)
