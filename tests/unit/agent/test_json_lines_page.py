"""docs/formats.md, "Lines of a station", against the lines; and their bound, whatever boards say."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.shown.json_lines import MAX_LINE, JsonLines
from agent.adapters.shown.line_writer import _notice
from agent.core.events import (
    BoardSeen,
    Event,
    Finished,
    LineDown,
    LineUp,
    PortReady,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.result import Outcome, Result, StepTime, Summary

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
RESULT = Result(
    "1", "WO-1", "C", "SN", "aa", Outcome.PASS, "record", "", "", "", 1.0, (StepTime("sign", 1.0),)
)
EVENTS: list[Event] = [
    BoardSeen("1", "C"),
    StepStarted("1", "sign"),
    StepProgress("1", "sign", 1, 2),
    StepDone("1", "sign", 1.0),
    Waiting("1", "why"),
    PortReady("1"),
    *(Finished(replace(RESULT, outcome=outcome)) for outcome in Outcome),
    StampSettled("WO-1", "C", "SN", ""),
    LineDown("code", "detail", "remedy", stop=True),
    LineUp(),
]
SUMMARY = Summary(1, 1, 0, 0, 100.0, 1.0, {"sign": 1.0}, {"code": 1})


def lines_of(events: list[Event], summary: Summary) -> list[str]:
    stream = io.StringIO()
    lines = JsonLines(stream)
    for event in events:
        lines(event)
    lines.notice("x" * 100_000)
    lines.summary(summary)
    return stream.getvalue().splitlines()


def documented() -> dict[str, set[str]]:
    section = PAGE.read_text(encoding="utf-8").partition("## Lines of a station")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    members = {event: set(re.findall(r"`(\w+)`", text.partition(":")[0])) for event, text in rows}
    del members["event"]  # the head of the table
    as_done = members["board_done"]
    return {event: as_done if names == {"board_done"} else names for event, names in members.items()}


def test_each_line_has_the_members_of_the_page() -> None:
    said = [json.loads(line) for line in [*lines_of(EVENTS, SUMMARY), _notice(3)]]
    found = {line["event"]: set(line) - {"event", "time"} for line in said}
    assert found == documented()


@pytest.mark.parametrize(
    "text", ["\x00", "\U0001f600", '"', "\ud800"], ids=["control", "emoji", "quote", "surrogate"]
)
def test_a_line_stays_within_its_bound_whatever_a_board_says(text: str) -> None:
    """Each text as long and as dear as can be, and more items than there are steps."""
    long = text * 100_000
    times = tuple(StepTime(f"{number}{long}", 1.0) for number in range(500))
    texts: dict[str, Any] = {field.name: long for field in fields(Result) if field.type == "str"}
    result = replace(RESULT, **texts, times=times, written=(long,) * 500, outcome=Outcome.FAIL)
    summary = replace(SUMMARY, codes={f"{number}{long}": 1 for number in range(500)})
    events: list[Event] = [
        BoardSeen(long, long),
        Waiting(long, long),
        Finished(result),
        LineDown(long, long, long, stop=False),
    ]
    for line in lines_of(events, summary):
        assert line.isascii()
        assert len(line) < MAX_LINE
        assert json.loads(line)["event"]


def test_the_bound_of_the_page_is_the_bound() -> None:
    assert f"at most {MAX_LINE:,} bytes" in PAGE.read_text(encoding="utf-8")
