"""From an empty chip to a sealed, stamped, labelled product: real programs and esptool, simulated chips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.esp32.partitions import ota_only_partitions
from boards.esp32.signing import SigningKey
from harness.esp32_line import Esp32Line

FAMILIES = ("esp32s3", *(pytest.param(name, marks=pytest.mark.check) for name in ("esp32", "esp32c3")))
# Labels are no part of the driver's own recipe.
RECIPE = """
name = "sensor"
{steps}
[[step]]
name = "verify"
challenge = true
[[step]]
name = "stamp"
[[step]]
name = "label"
"""
_FIRST = ("identify", "flash", "keygen", "request", "sign", "install", "configure", "seal", "first-boot")
LABELLED = RECIPE.format(steps="".join(f'[[step]]\nname = "{name}"\n' for name in _FIRST))


@pytest.fixture(scope="module", params=FAMILIES)
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp(request.param)
    with Esp32Line(folder, request.param, SigningKey.make(folder)) as line:
        yield line


def test_an_empty_chip_leaves_locked_stamped_and_labelled(line: Esp32Line) -> None:
    """Its port is traced all the way: the firmware's side of it, and what esptool is asked."""
    run = line.new_run(recipe=LABELLED)
    assert run.start_agent("--trace", run.farm.chips[0].port).wait(120) == 0
    line.finished_once(run)
    (record,) = line.records(run)
    (label,) = (line.directory / run.work_order / "labels").iterdir()
    assert record.serial_number in label.name
    line.verify()
    _traced(run.config.parent)


def _traced(station: Path) -> None:
    (file,) = station.rglob("trace-*.log")
    said = [json.loads(text) for text in file.read_text(encoding="ascii").splitlines()]
    esptool = [each for each in said if each["kind"] == "esptool"]
    asked = [each["command"] for each in esptool if each["way"] == ">"]
    assert {"open", "prepare", "digests", "write", "run"} <= set(asked)
    answered = [each for each in esptool if each["way"] == "<"]
    assert all(each["seconds"] >= 0 for each in answered)
    assert any(each["body"].get("mac") for each in answered)
    assert {"hello", "keygen", "stamp", "pop"} <= {
        each["command"] for each in said if each["kind"] == "message"
    }
    times = [each["time"] for each in said]
    assert times == sorted(times)


def test_a_current_chip_is_finished(line: Esp32Line) -> None:
    run = line.new_run(held=line.bundle)
    assert run.start_agent().wait(120) == 0
    line.finished_once(run)


@pytest.mark.soak
@pytest.mark.parametrize("held", [False, True], ids=["an empty chip", "a current chip"])
def test_a_product_without_factory_whose_table_stands_elsewhere(line: Esp32Line, held: bool) -> None:
    """Built, signed, ordered, flashed, locked and stamped as any other."""
    place = 0x10000 if held else 0xC000
    table = ota_only_partitions(table_offset=place)
    images = line.company.images(table_offset=place, partitions=table)
    bundle = line.company.bundle(f"elsewhere-{place:x}", images)
    run = line.new_run(bundle=bundle, held=bundle if held else None)
    assert run.start_agent().wait(120) == 0
    line.finished_once(run)


@pytest.mark.check
def test_a_current_chip_is_not_written_to(line: Esp32Line) -> None:
    """It offers no key that the product accepts: it ends after `flash`, before it stores anything."""
    run = line.new_run(held=line.bundle, key_types="p384")
    before = run.farm.show(0)
    assert run.start_agent().wait(120) == 1
    after = run.farm.show(0)
    assert [(result["step"], result["code"]) for result in run.results()] == [("flash", "unsupported")]
    done = [event["step"] for event in run.events() if event["event"] == "step_done"]
    assert done == ["identify", "session", "flash"]
    assert after["flash_bytes"] == before["flash_bytes"]
    assert after["flash_sha256"] == before["flash_sha256"]


@pytest.mark.check
def test_only_what_is_older_is_written(line: Esp32Line) -> None:
    older = line.company.bundle("older", line.company.images(version="1.3.0"))
    run = line.new_run(held=older, key_types="p384")
    before = run.farm.show(0)
    assert run.start_agent().wait(120) == 1
    written = run.farm.show(0)["flash_bytes"] - before["flash_bytes"]
    application = len(line.images.by_role["application"])
    assert application <= written <= 2 * application  # erased and programmed, and nothing else
