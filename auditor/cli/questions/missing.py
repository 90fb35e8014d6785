"""`missing`: which boards have a certificate and no stamp?"""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.adapters.questions import boards
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked, kinds_of, seconds_of_age, station_uri
from auditor.cli.questions.options import (
    CsvOption,
    FirmwareOption,
    LevelOption,
    MethodOption,
    OrderOption,
    ProductOption,
    StationOption,
)

_COLUMNS = (
    "serial_number", "chip_id", "work_order", "number", "station", "issued_at", "age_h", "product", "level",
    "method", "firmware", "issued_entry",
)  # fmt: skip
_SHOWN = ("serial_number", "chip_id", "work_order", "station", "issued_at", "age_h")


def missing(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Certified at least so long before the last `verify`: 90m, 36h, 3d."
        ),
    ] = "0m",
    order: OrderOption = "",
    station: StationOption = "",
    product: ProductOption = "",
    firmware: FirmwareOption = None,
    level: LevelOption = None,
    method: MethodOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists boards that were certified, and are neither stamped nor revoked, oldest first.

    It answers from the last `verify`, and counts ages up to it: run that first.

    Example: birthmark-auditor missing --older-than 12h --order WO-1 --csv > missing.csv
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    kinds = kinds_of(firmware, level, method, product)
    older_than_s, uri = seconds_of_age(older_than), station_uri(config, station)
    with asked(config) as (reading, as_of):
        found = boards.missing(reading, order=order, station=uri, older_than_s=older_than_s, kinds=kinds)
        answer.rows("missing", as_of, found, _COLUMNS, _SHOWN)
