"""Chips that are exchanged by hand while one is under way, on a running line: the others stay untouched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from birthmark.v1 import audit_pb2
from boards.esp32.signing import SigningKey
from harness.esp32_line import Esp32Line
from harness.process import wait_until

pytestmark = pytest.mark.check

# `keygen` to `configure` are exchanged in memory (tests/unit/agent/test_exchanged_boards.py).
STEPS = ("flash", "request", "seal", "first-boot", "verify", "stamp", "label")
_ALL_S = 240.0
_RECIPE = "name = 'sensor'\n" + "".join(
    f'[[step]]\nname = "{name}"\n'
    for name in (
        "identify",
        "flash",
        "keygen",
        "request",
        "sign",
        "install",
        "configure",
        "seal",
        "first-boot",
    )
)
LABELLED = (
    _RECIPE
    + """
[[step]]
name = "verify"
challenge = true
[[step]]
name = "stamp"
[[step]]
name = "label"
"""
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp("exchanged")
    with Esp32Line(folder, "esp32s3", SigningKey.make(folder)) as line:
        yield line


def test_at_each_step_that_touches_the_board(line: Esp32Line) -> None:
    """The chips that come instead are on no list: signerd would not let the station write one of them."""
    run = line.new_run(chips=len(STEPS), recipe=LABELLED)
    first = {chip.port: chip for chip in run.farm.chips}
    due = {chip.port: step for chip, step in zip(run.farm.chips, STEPS, strict=True)}
    instead: dict[str, str] = {}
    agent = run.start_agent(count=100)

    def all_ended() -> bool:
        events = [event for event in run.events() if event.get("port") in due]
        for event in events:
            port = event["port"]
            if event["event"] == "step_started" and event["step"] == due[port] and port not in instead:
                instead[port] = str(run.farm.tell(first[port].number, exchange=True)["chip"])
        ended = {event["chip_id"] for event in run.results()}
        return {chip.chip_id for chip in first.values()} <= ended

    wait_until(all_ended, "each board to end", timeout_s=_ALL_S, program=agent)
    agent.stop()
    assert set(instead) == set(first)
    for result in run.results():
        if result["chip_id"] in instead.values():
            assert result["code"] == "chip_unknown", result
    ends = {result["chip_id"]: result for result in run.results()}
    for port, chip in first.items():
        shown = run.farm.show(chip.number)
        assert shown["mac"] == instead[port] != chip.chip_id
        assert (shown["flash_bytes"], shown["efuse_words"]) == (0, 0), due[port]
        end = ends[chip.chip_id]
        if end["outcome"] == "PASS":  # it was stamped before it went, or nothing more was asked of it
            assert due[port] in {"stamp", "label"}, end
        else:
            assert end["code"] in {"chip_changed", "port_gone", "no_answer"}, end
    stamped = {
        record.chip_id for record in line.records(run) if record.state == audit_pb2.RECORD_STATE_STAMPED
    }
    passed = {chip for chip, end in ends.items() if end["outcome"] == "PASS"}
    assert passed <= stamped
    assert not stamped & set(instead.values())


def test_nothing_of_the_sort_happens_without_a_hand(line: Esp32Line) -> None:
    run = line.new_run(recipe=LABELLED)
    assert run.start_agent().wait(_ALL_S) == 0
    line.finished_once(run)
