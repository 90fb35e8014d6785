"""`orders`: what does each work order come to?"""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.adapters.questions import orders as by_order
from auditor.adapters.questions.orders import Choice
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked
from auditor.cli.questions.options import CsvOption, OrderOption, ProductOption

_COLUMNS = (
    "work_order", "product", "state", "ordered", "boards", "certificates", "stamped", "good", "missing",
    "revoked", "scrapped", "refused", "short", "over", "opened_at", "not_after", "closed_at", "opened_entry",
)  # fmt: skip
_SHOWN = (
    "work_order", "state", "ordered", "boards", "good", "missing", "scrapped", "refused", "short", "over",
)  # fmt: skip


def orders(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    order: OrderOption = "",
    product: ProductOption = "",
    only: Annotated[Choice, typer.Option(help="All orders, or those alone that are so.")] = Choice.ALL,
    at_close: Annotated[
        bool, typer.Option("--at-close", help="Closed orders, with what they came to at that moment.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists work orders: boards ordered, certified, stamped, revoked and refused, and how many are short.

    `good` boards are stamped and not revoked, and `short` is what lacks of them. `scrapped` boards were
    revoked and not certified again.

    Example: birthmark-auditor orders --only short --csv > short.csv
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    with asked(config) as (reading, as_of):
        found = by_order.orders(reading, order=order, product=product, choice=only, at_close=at_close)
        answer.rows("order", as_of, found, _COLUMNS, _SHOWN)
