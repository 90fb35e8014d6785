"""`who`: which administrator did what, and when?"""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.adapters.questions import acts
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.cli.questions.answer import Answer, asked, period_of
from auditor.cli.questions.options import CsvOption, FromOption, ToOption

_COLUMNS = ("at", "by", "act", "about", "approved_by", "findings", "entry")


def who(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    person: Annotated[str, typer.Option(help="Acts that this person did or approved.")] = "",
    act: Annotated[str, typer.Option(help="Entries of this type alone: order_opened, revoked.")] = "",
    start: FromOption = "",
    end: ToOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Lists what administrators did, with who approved it and by which keys.

    `by` is the name that signerd's command was told. A signature stands behind `approved_by` alone: its
    keys are in JSON. `findings` counts those about the act and its approval.

    Example: birthmark-auditor who --person carol --from 2026-11-01 --to 2026-11-30
    """
    answer = Answer(as_json=as_json, as_csv=as_csv)
    period = period_of(start, end)
    with asked(config) as (reading, as_of):
        found = acts.acts(reading, person=person, act=act, period=period)
        answer.rows("act", as_of, found, _COLUMNS, _COLUMNS)
