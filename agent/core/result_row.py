"""A board's result as a row for other people's programs: a line of JSON, and a record of RFC 4180.

The journal's number of the run comes first: a program that reads rows can tell a row it has from one it has
not. A board that was parked and whose stamp signerd answers later has a second row with the same number; the
last one counts. Texts that a board or signerd made are nothing but text, also in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.core.recipe import StepName

STEPS = (*StepName, "session", "record")  # each a column of seconds; a new step goes to the end
_FORM = 1
_FORMULA = ("=", "+", "-", "@")
_TEXTS = ("port", "work_order", "chip_id", "serial_number", "certificate_sha256")
_TEXTS_AFTER = ("step", "code", "detail", "remedy")


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row."""

    run: int
    started_at: str  # UTC, ISO 8601
    ended_at: str  # the same
    port: str
    work_order: str
    chip_id: str
    serial_number: str
    certificate_sha256: str
    outcome: str
    step: str
    code: str
    detail: str
    remedy: str
    seconds: float
    times: Mapping[str, float]  # seconds by step

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What makes this row another than each before."""
        return self.run, self.started_at, self.outcome, self.code


CSV_HEADER = (
    ",".join(
        [*(field.name for field in fields(ResultRow) if field.name != "times"), *(f"{s}_s" for s in STEPS)]
    )
    + "\r\n"
)


def json_object(row: ResultRow) -> dict[str, Any]:
    """The row as JSON has it."""
    members = asdict(row)
    members["seconds"] = round(row.seconds, 4)
    members["times"] = {step: round(seconds, 4) for step, seconds in row.times.items()}
    members["v"] = _FORM
    return members


def json_line(row: ResultRow) -> str:
    """One line, ended by a line feed."""
    return json.dumps(json_object(row)) + "\n"


def csv_line(row: ResultRow) -> str:
    """One record, ended as RFC 4180 has it; control characters in texts become spaces, so it is one line.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    members = asdict(row)
    texts = [_cell(members[name]) for name in (*_TEXTS, "outcome", *_TEXTS_AFTER)]
    times = [f"{row.times[step]:.4f}" if step in row.times else "" for step in STEPS]
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow([row.run, row.started_at, row.ended_at, *texts, f"{row.seconds:.4f}", *times])
    return line.getvalue()


def json_key(line: bytes) -> tuple[int, str, str, str] | None:
    """The key of a row that `json_line` made; None for any other bytes."""
    try:
        row = json.loads(line)
        return int(row["run"]), str(row["started_at"]), str(row["outcome"]), str(row["code"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def csv_key(line: bytes) -> tuple[int, str, str, str] | None:
    """The key of a row that `csv_line` made; None for any other bytes."""
    try:
        (cells,) = csv.reader([line.decode("utf-8")])
        row = dict(zip(CSV_HEADER.rstrip().split(","), cells, strict=False))
        return int(row["run"]), row["started_at"], row["outcome"], row["code"]
    except (ValueError, KeyError, csv.Error):
        return None


def _cell(text: str) -> str:
    one_line = "".join(c if c.isprintable() else " " for c in text)
    return f"'{one_line}" if one_line.lstrip().startswith(_FORMULA) else one_line
