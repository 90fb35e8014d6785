"""`chips`: which chips are not as they should be?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.adapters.questions import chips as by_chip
from auditor.adapters.questions.reading import Rows
from auditor.adapters.state import MARKS
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked, kinds_of
from auditor.cli.questions.options import (
    CsvOption,
    FirmwareOption,
    LevelOption,
    MethodOption,
    OrderOption,
    ProductOption,
)
from auditor.cli.wiring import session
from auditor.config import load

_COLUMNS = (
    "why", "chip_id", "serial_number", "work_order", "issued_at", "work_orders", "certificates", "refusals",
    "codes", "refused_at", "stations", "line", "issued_entry",
)  # fmt: skip
_SHOWN = ("why", "chip_id", "serial_number", "work_order", "issued_at", "work_orders", "refusals", "codes")
_DIGEST = 64  # hexadecimal digits


def chips(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    list_: Annotated[
        Path | None,
        typer.Option("--chips", metavar="LIST", help="The company's own list, one chip id a line."),
    ] = None,
    attester: Annotated[
        str, typer.Option(metavar="SHA256", help="Boards whose evidence this attestation key signed.")
    ] = "",
    tiles: Annotated[
        str, typer.Option(help="With --attester: entries from these published tiles, not from signerd.")
    ] = "",
    order: OrderOption = "",
    product: ProductOption = "",
    firmware: FirmwareOption = None,
    level: LevelOption = None,
    method: MethodOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists chips that are on several work orders, and those that were refused before they were certified.

    With --chips it compares that list instead: chips on it that were never certified, and certified ones
    that are not on it. With --attester it lists the boards of one attestation key, whose entries it reads
    from signerd.

    Example: birthmark-auditor chips --chips bought.txt --order WO-1 --csv > differences.csv
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    kinds = kinds_of(firmware, level, method, product)
    if (list_ is not None and attester) or (tiles and not attester):
        raise typer.BadParameter("--chips and --attester are two questions, and --tiles goes with --attester")
    with asked(config) as (reading, as_of):
        if attester:
            if order or not kinds.all:
                raise typer.BadParameter("--attester names its boards by itself: leave out the other choices")
            found = _attested(config, _digest(attester), tiles)
        elif list_ is not None:
            found = by_chip.against(reading, list_, order=order, kinds=kinds)
        else:
            found = by_chip.noticed(reading, load(config).state / MARKS, order=order, kinds=kinds)
        answer.rows("chip", as_of, found, _COLUMNS, _SHOWN)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text if len(text) == _DIGEST else "-")
    except ValueError as error:
        raise typer.BadParameter("--attester wants a SHA-256: 64 hexadecimal digits") from error


def _attested(config: Path, attester: bytes, tiles: str) -> Rows:
    with session(config, tiles=tiles) as opened:
        for one in opened.state.attested_by(attester):
            row = dict.fromkeys(_COLUMNS) | {
                "why": "attester",
                "chip_id": one.chip_id,
                "serial_number": one.serial_number,
                "work_order": one.work_order,
                "issued_entry": one.index,
            }
            yield row
