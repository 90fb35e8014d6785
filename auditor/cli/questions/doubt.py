"""`doubt`: which boards did a station have in hand while it is in doubt?"""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.adapters.questions import boards
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked, kinds_of, period_of, station_uri
from auditor.cli.questions.options import (
    CsvOption,
    FirmwareOption,
    FromOption,
    LevelOption,
    MethodOption,
    ProductOption,
    ToOption,
)

_COLUMNS = (
    "to_do", "serial_number", "chip_id", "work_order", "number", "state", "handled", "station", "issued_at",
    "stamped_by", "stamped_at", "product", "level", "method", "firmware", "issued_entry", "stamped_entry",
    "revoked_entry",
)  # fmt: skip
_SHOWN = ("to_do", "serial_number", "chip_id", "work_order", "handled", "issued_at", "stamped_at")


def doubt(
    station: Annotated[str, typer.Argument(help="The station's URI, or SITE/STATION.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    start: FromOption = "",
    end: ToOption = "",
    product: ProductOption = "",
    firmware: FirmwareOption = None,
    level: LevelOption = None,
    method: MethodOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists the boards that a station certified or stamped in a period, and what to do with each.

    `recall` boards are stamped and may have left the factory, `hold` boards are not stamped, and of revoked
    ones `none` is left to do.

    Example: birthmark-auditor doubt plant1/pc1 --from 2026-11-01 --to 2026-11-03 --csv > recall.csv
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    kinds = kinds_of(firmware, level, method, product)
    period, uri = period_of(start, end), station_uri(config, station)
    with asked(config) as (reading, as_of):
        found = boards.doubt(reading, station=uri, period=period, kinds=kinds)
        answer.rows("board", as_of, found, _COLUMNS, _SHOWN)
