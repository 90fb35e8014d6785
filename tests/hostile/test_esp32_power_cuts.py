"""The power fails: at each step, and at places of flash and eFuses that chance chose, on a running line.

A chip whose power fails comes back at once; one that failed is lifted and put on again. Each ends as a
finished board, with one certificate and one stamp; and nothing was burned before what it protects stood in
flash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from boards.esp32.flash import Flash
from boards.esp32.power import PowerSupply
from boards.esp32.signing import SigningKey
from harness.esp32_line import Esp32Line, Esp32Run
from harness.process import wait_until

STEPS = (
    *("identify", "session", "flash", "keygen", "request", "sign", "install"),
    *("configure", "seal", "first-boot", "verify", "stamp", "record"),
)
RANDOM_PLACES = 50
SEED = 83  # of the places: a run that failed can be run again
_ALL_S = 600.0  # 50 boards, each made twice, on two cores that others use too

Watch = Callable[[Mapping[str, Any]], None]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp("cuts")
    with Esp32Line(folder, "esp32s3", SigningKey.make(folder)) as line:
        yield line


class Operator:
    """Stands beside the line: switches the power on again, and lifts what failed."""

    def __init__(self, run: Esp32Run, on_event: Watch) -> None:
        self._run = run
        self._on_event = on_event
        self._seen = 0
        self._chips = {chip.port: chip for chip in run.farm.chips}
        self._lifting: set[str] = set()
        self.passed: set[str] = set()
        self.ends: dict[str, list[str]] = {port: [] for port in self._chips}

    def all_passed(self) -> bool:
        """Looks once at everything that happened, and does what it asks for."""
        events = self._run.events()
        for event in events[self._seen :]:
            if "port" in event:
                self._heard(event)
                self._on_event(event)
        self._seen = len(events)
        for port in self._lifting & self._run.gone_ports() if self._lifting else ():
            self._lifting.discard(port)
            self._run.farm.press(self._chips[port].number, "plug")
            self._run.farm.press(self._chips[port].number, "power on")
        for port in self._chips.keys() - self.passed - self._lifting:
            if self._run.farm.state(self._chips[port].number) == "off":
                self._run.farm.press(self._chips[port].number, "power on")
        return len(self.passed) == len(self._chips)

    def _heard(self, event: Mapping[str, Any]) -> None:
        port = event["port"]
        chip = self._chips[port]
        if event["event"] == "board_done":
            self.passed.add(port)
        elif event["event"] in {"board_failed", "board_parked"}:
            self.ends[port].append(event["code"])
            self._lifting.add(port)
            self._run.farm.press(chip.number, "unplug")
            self._run.farm.press(chip.number, "power off")


def finish(line: Esp32Line, run: Esp32Run, on_event: Watch = lambda _event: None) -> Operator:
    """Runs the station until every chip has passed."""
    operator = Operator(run, on_event)
    agent = run.start_agent(count=10 * len(run.chips))
    wait_until(operator.all_passed, "every chip to pass", timeout_s=_ALL_S, program=agent)
    agent.stop()
    for chip in run.farm.chips:
        if run.farm.state(chip.number) == "off":  # cut in the last step, which needs no board
            run.farm.press(chip.number, "power on")
    wait_until(lambda: all(run.farm.show(chip.number)["firmware"] for chip in run.farm.chips), "all to run")
    line.finished_once(run)
    return operator


@pytest.mark.timeout(900)
def test_at_each_step(line: Esp32Line) -> None:
    run = line.new_run(chips=len(STEPS))
    due = {chip.port: step for chip, step in zip(run.farm.chips, STEPS, strict=True)}
    numbers = {chip.port: chip.number for chip in run.farm.chips}
    cut: set[str] = set()

    def watch(event: Mapping[str, Any]) -> None:
        port = event["port"]
        if event["event"] == "step_started" and due[port] == event["step"] and port not in cut:
            cut.add(port)
            run.farm.press(numbers[port], "power off")

    finish(line, run, watch)
    assert cut == set(due)


@pytest.mark.timeout(900)
def test_at_places_that_chance_chose(line: Esp32Line) -> None:
    whole = line.new_run()
    finish(line, whole)
    spent = whole.farm.show(0)
    chance = random.Random(SEED)
    places = [f"flash {chance.randrange(spent['flash_bytes'])}" for _ in range(RANDOM_PLACES - 10)]
    places += [f"efuse {chance.randrange(spent['efuse_words'])}" for _ in range(10)]
    run = line.new_run(chips=len(places))
    for chip, place in zip(run.farm.chips, places, strict=True):
        run.farm.press(chip.number, f"cut {place}")
    finish(line, run)


def test_nothing_is_burned_before_what_it_protects_stands_in_flash(line: Esp32Line) -> None:
    run = line.new_run()
    run.farm.press(0, "cut efuse 0")
    agent = run.start_agent()
    wait_until(lambda: run.farm.state(0) == "off", "the first burn", timeout_s=_ALL_S, program=agent)
    agent.kill()
    (path,) = Path(line.directory, run.work_order, "chips").glob("*.flash")
    content = Flash(path.stat().st_size, supply=PowerSupply(), path=path).read(0, path.stat().st_size)
    images = line.images
    for role in ("secure-bootloader", "partition-table", "application"):
        image = images.by_role[role]
        assert content[images.offset(role) :][: len(image)] == image, role
    assert any(event["event"] == "step_done" and event["step"] == "configure" for event in run.events())
