"""`stations`: how do stations do, by day?"""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.adapters.questions import stations as by_station
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked, kinds_of, period_of, station_uri
from auditor.cli.questions.options import (
    CsvOption,
    FirmwareOption,
    FromOption,
    LevelOption,
    MethodOption,
    OrderOption,
    ProductOption,
    StationOption,
    ToOption,
)

_COLUMNS = (
    "station", "day", "certificates", "stamped", "yield", "revoked", "stamps", "refusals", "outlier",
)  # fmt: skip


def stations(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    start: FromOption = "",
    end: ToOption = "",
    station: StationOption = "",
    order: OrderOption = "",
    product: ProductOption = "",
    firmware: FirmwareOption = None,
    level: LevelOption = None,
    method: MethodOption = "",
    total: Annotated[bool, typer.Option("--total", help="All days of a station in one row.")] = False,
    outliers: Annotated[bool, typer.Option("--outliers", help="Outliers alone.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists certificates, stamps, refusals and yield by station and day (UTC), and marks outliers.

    An outlier has at least 5 boards without a stamp, or 5 refusals, and more than 3 standard deviations
    above the share of all other rows of the same answer. Both sides have at least 20. The newest day does
    not count for yield: its boards may still be on the line.

    Example: birthmark-auditor stations --from 2026-11-01 --outliers
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    kinds = kinds_of(firmware, level, method, product)
    period, uri = period_of(start, end), station_uri(config, station)
    question = by_station.Asked(period, kinds, uri, order, total, outliers)
    with asked(config) as (reading, as_of):
        answer.rows("station", as_of, by_station.stations(reading, question), _COLUMNS, _COLUMNS)
