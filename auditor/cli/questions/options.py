"""Options that several questions have."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Level(Enum):
    """Levels of evidence."""

    NONE = "none"
    CHIP = "chip"
    KEY = "key"


CsvOption = Annotated[bool, typer.Option("--csv", help="Prints CSV, for spreadsheets.")]
OrderOption = Annotated[str, typer.Option(help="Of this work order alone.")]
StationOption = Annotated[str, typer.Option(help="Of this station alone: its URI, or SITE/STATION.")]
ProductOption = Annotated[str, typer.Option(help="Of this product alone.")]
FirmwareOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COMPONENT=VERSION",
        help="With this firmware alone: as measured, or else as claimed. Again for each component.",
    ),
]
LevelOption = Annotated[Level | None, typer.Option(help="With evidence of this level alone.")]
MethodOption = Annotated[str, typer.Option(help="With evidence of this method alone.")]
FromOption = Annotated[
    str,
    typer.Option(
        "--from", metavar="TIME", help="From this day or moment on: 2026-11-01, or with T06:00:00Z."
    ),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="TIME", help="Up to and with this day or moment, UTC.")
]
