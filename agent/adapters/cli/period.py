"""`--since` and `--until`: a date, a moment, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"([0-9]{1,5})([mhd])")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def moment(text: str, now: datetime) -> str:
    """The moment as the journal writes it, in UTC.

    Args:
        text: `90m`, `8h` or `2d` before now; or ISO 8601, `2026-11-20` or `2026-11-20T06:00`, this PC's own
            time where it names no offset.
        now: aware.

    Raises:
        typer.BadParameter: it is none of these.
    """
    ago = _AGO.fullmatch(text)
    try:
        point = datetime.fromisoformat(text) if ago is None else now - int(ago[1]) * _UNIT[ago[2]]
        return point.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no moment: 8h, 2d, 2026-11-20, 2026-11-20T06:00") from error
