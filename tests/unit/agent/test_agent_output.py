"""What operators and machines see: the live table, JSON lines, the summary."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from agent.adapters.shown.fan_out import fan_out
from agent.adapters.shown.json_lines import JsonLines
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.table import LiveTable
from agent.adapters.shown.tally import Tally
from agent.core.events import (
    BoardSeen,
    Finished,
    LineDown,
    LineUp,
    Progress,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.result import Outcome, Result, StepTime, summarize

RESULT = Result(
    port="port-1",
    work_order="WO-1",
    chip_id="CHIP-1",
    serial_number="BM-000001",
    certificate_sha256="aa" * 32,
    outcome=Outcome.PASS,
    step="record",
    code="",
    detail="",
    remedy="",
    seconds=2.0,
    times=(StepTime("keygen", 1.5),),
)
FAILED = replace(RESULT, outcome=Outcome.FAIL, code="storage_full", detail="no [room]", remedy="Repair it")
SETTLED = StampSettled("WO-1", "CHIP-1", "BM-000001", "")


def tell(progress: Progress) -> None:
    progress(BoardSeen("port-1", "CHIP-1"))
    progress(StepStarted("port-1", "keygen"))
    for percent in range(101):
        progress(StepProgress("port-1", "keygen", percent, 100))
    progress(StepProgress("port-1", "keygen", 0, 0))
    progress(StepDone("port-1", "keygen", 1.5))
    progress(Waiting("port-1", "signerd does not answer [here]"))
    progress(Finished(FAILED))
    progress(replace(SETTLED, code="stamp_conflict"))
    progress(SETTLED)
    progress(LineDown("signer_unavailable", "no [answer]", "Look at the cable", stop=False))
    progress(LineUp())
    progress(Finished(RESULT))


def test_live_table() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    live = LiveState("WO-1", 14)
    with LiveTable(console, live.snapshot) as table:
        tell(fan_out(live, table))
        table.summary(summarize([RESULT, FAILED]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for text in ("FAIL", "storage_full", "no [room]", "Repair it", "PASS", "BM-000001", "50.0 %", "keygen"):
        assert text in shown


def test_json_lines() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    tell(lines)
    lines.summary(summarize([RESULT, FAILED]))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events if event["event"] != "step_progress"] == [
        "board_seen",
        "step_started",
        "step_done",
        "waiting",
        "board_failed",
        "stamp_settled",
        "stamp_settled",
        "line_down",
        "line_up",
        "board_done",
        "summary",
    ]
    assert sum(event["event"] == "step_progress" for event in events) <= 11
    done = next(event for event in events if event["event"] == "board_done")
    assert (done["serial_number"], done["times"]) == ("BM-000001", {"keygen": 1.5})


class Closed(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_boards_go_on_when_nobody_reads() -> None:
    tell(JsonLines(Closed()))


def test_summary() -> None:
    parked = replace(RESULT, outcome=Outcome.PARKED, code="stopped")
    slow = replace(RESULT, seconds=4.0, times=(StepTime("keygen", 2.5),))
    summary = summarize([RESULT, slow, FAILED, parked])
    assert (summary.boards, summary.passed, summary.failed, summary.parked) == (4, 2, 1, 1)
    assert summary.yield_percent == 100 * 2 / 3
    assert (summary.median_s, summary.step_median_s) == (3.0, {"keygen": 2.0})
    assert summary.codes == {"storage_full": 1, "stopped": 1}


def test_tally_counts_a_parked_board_once_and_at_its_end() -> None:
    parked = replace(RESULT, outcome=Outcome.PARKED, code="signer_unavailable")
    tally = Tally(JsonLines(io.StringIO()))
    tally(Finished(parked))
    assert (tally.summary().parked, tally.all_passed) == (1, False)
    tally(BoardSeen("port-1", "CHIP-1"))  # presented again
    tally(Finished(RESULT))
    summary = tally.summary()
    assert (summary.boards, summary.passed, summary.parked, summary.codes) == (1, 1, 0, {})
    assert summary.step_median_s == {"keygen": 1.5}
    tally(replace(SETTLED, chip_id="CHIP-9"))  # of an earlier run
    assert (tally.summary().boards, tally.all_passed) == (1, True)
    tally(replace(SETTLED, chip_id="CHIP-9", code="stamp_conflict"))
    assert (tally.summary().codes, tally.all_passed) == ({"stamp_conflict": 1}, False)


def test_summary_of_nothing() -> None:
    assert summarize([]).yield_percent == 0.0
    assert Tally(JsonLines(io.StringIO())).all_passed
