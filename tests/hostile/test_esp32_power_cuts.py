"""The power fails: at each step, and at places of flash and eFuses that chance chose, on a running line.

A chip whose power fails comes back at once; one that failed is lifted and put on again. Each ends as a
finished board, with one certificate and one stamp; and nothing was burned before what it protects stood in
flash.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from boards.esp32.flash import Flash
from boards.esp32.power import PowerSupply
from boards.esp32.signing import SigningKey
from harness.esp32_line import Esp32Line
from harness.esp32_operator import finish
from harness.process import wait_until

pytestmark = pytest.mark.check

STEPS = (
    *("identify", "session", "flash", "keygen", "request", "sign", "install"),
    *("configure", "seal", "first-boot", "verify", "stamp", "record"),
)
SEED = 83  # of the places: a run that failed can be run again
_FIRST_BURN_S = 60.0


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp("cuts")
    with Esp32Line(folder, "esp32s3", SigningKey.make(folder)) as line:
        yield line


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
@pytest.mark.parametrize(("flash", "efuse"), [(14, 4), pytest.param(50, 10, marks=pytest.mark.soak)])
def test_at_places_that_chance_chose(line: Esp32Line, flash: int, efuse: int) -> None:
    whole = line.new_run()
    finish(line, whole)
    spent = whole.farm.show(0)
    chance = random.Random(SEED)
    places = [f"flash {chance.randrange(spent['flash_bytes'])}" for _ in range(flash)]
    places += [f"efuse {chance.randrange(spent['efuse_words'])}" for _ in range(efuse)]
    run = line.new_run(chips=len(places))
    for chip, place in zip(run.farm.chips, places, strict=True):
        run.farm.press(chip.number, f"cut {place}")
    finish(line, run)


def test_nothing_is_burned_before_what_it_protects_stands_in_flash(line: Esp32Line) -> None:
    run = line.new_run()
    run.farm.press(0, "cut efuse 0")
    agent = run.start_agent()
    wait_until(lambda: run.farm.state(0) == "off", "the first burn", timeout_s=_FIRST_BURN_S, program=agent)
    agent.kill()
    (path,) = Path(line.directory, run.work_order, "chips").glob("*.flash")
    content = Flash(path.stat().st_size, supply=PowerSupply(), path=path).read(0, path.stat().st_size)
    images = line.images
    for role in ("secure-bootloader", "partition-table", "application"):
        image = images.by_role[role]
        assert content[images.offset(role) :][: len(image)] == image, role
    assert any(event["event"] == "step_done" and event["step"] == "configure" for event in run.events())
