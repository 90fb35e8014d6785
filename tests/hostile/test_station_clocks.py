"""A signerd of another time, as nothing on its own machine can tell: its stations can, and begin no board."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.factory import Factory, Run, events
from harness.process import COMMANDS
from harness.wall_clock import WallClock


class SteppedFactory(Factory):
    """A factory whose signerd's clock the test steps."""

    def __init__(self, directory: Path) -> None:
        self._clock = WallClock(directory)
        super().__init__(directory / "installation", signerd=self._clock.signerd)

    def start_at(self, seconds: int) -> None:
        """As after a new start of the machine."""
        self._clock.start_at(self.installation, seconds, new_boot=True)

    def doctor(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and what it says of the clock."""
        command = [
            str(COMMANDS / "birthmark-agent"),
            "doctor",
            "--json",
            "--config",
            str(self.station.config),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        findings = json.loads(ended.stdout)
        return ended.returncode, next(each for each in findings if each["check"] == "clock")

    def untouched(self, run: Run) -> None:
        """No board was begun."""
        assert self.records(run) == []
        assert self.entries("issued", run) == []


@pytest.fixture(name="stepped", scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteppedFactory]:
    with SteppedFactory(tmp_path_factory.mktemp("stepped")) as factory:
        yield factory


@pytest.mark.check
@pytest.mark.parametrize(("seconds", "said"), [(7200, "2 h ahead of"), (172_800, "2 days ahead of")])
def test_no_board_begins_while_signerd_is_ahead(stepped: SteppedFactory, seconds: int, said: str) -> None:
    run = stepped.new_run(boards=1)
    assert stepped.doctor()[1]["ok"]
    stepped.start_at(seconds)
    code, finding = stepped.doctor()
    assert (code, finding["ok"]) == (1, False)
    assert said in finding["detail"]
    assert "administrator" in finding["remedy"]
    agent = run.start_agent()
    assert agent.wait() != 0
    assert finding["detail"] in agent.stderr_file.read_text(encoding="utf-8")
    assert [event for event in events(agent) if event["event"] == "board_failed"] == []
    stepped.untouched(run)
    stepped.start_at(0)
    stepped.installation.admin("clock", "accept")  # that start was entered, at a time to come
    assert run.start_agent().wait() == 0
    stepped.finished_once(run)
    stepped.verify()
