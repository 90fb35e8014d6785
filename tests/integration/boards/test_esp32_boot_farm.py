"""`python -m boards.esp32`, as the demo and the end-to-end tests start it."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.drivers.smp import SmpDriver
from boards.esp32.farm import stage_of_bundle
from boards.esp32.product import ProductImages
from harness.commanded_farm import CommandedFarm
from harness.hello import hello
from harness.process import wait_until

MakeImages = Callable[[str], ProductImages]


@contextmanager
def farm(tmp_path: Path, *arguments: str | Path) -> Iterator[CommandedFarm]:
    """Running chips; ended by SIGTERM, and that without an error."""
    log = Path(tempfile.mkdtemp(dir=tmp_path)) / "farm"
    with CommandedFarm("boards.esp32", ["--link-dir", tmp_path / "line", *arguments], log=log) as running:
        yield running
        assert running.program.stop() == 0


def wait_for(chips: CommandedFarm, firmware: str | None, board: int = 0) -> dict[str, Any]:
    wait_until(lambda: chips.tell(board, show=True)["firmware"] == firmware, f"{firmware} to run")
    return chips.tell(board, show=True)


@pytest.fixture
def bundle(tmp_path: Path, small_images: MakeImages) -> Path:
    """What of a bundle's file the farm reads; unsigned."""
    images = small_images("esp32s3")
    described = [{"name": role, "role": role, "offset": images.offset(role)} for role in images.by_role]
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps({"images": described}))
        for role, image in images.by_role.items():
            file.writestr(f"images/{role}.bin", image)
    return path


def test_a_bundles_manufacturing_stage(bundle: Path, small_images: MakeImages) -> None:
    assert stage_of_bundle(bundle) == small_images("esp32s3").manufacturing_stage


async def test_chips_survive_a_restart(tmp_path: Path, bundle: Path) -> None:
    arguments = ("--chip", "esp32s3", "--count", "2", "--state-dir", str(tmp_path / "state"),
                 "--preset", "current", "--bundle", str(bundle))  # fmt: skip
    shown = []
    for _start in range(2):
        with farm(tmp_path, *arguments) as chips:
            *said, ready = chips.said
            assert ready == {"ready": 2}
            assert [board["chip"] for board in said] == ["7c:df:a1:00:00:01", "7c:df:a1:00:00:02"]
            assert said[1]["control"] == f"{said[1]['port']}.control"
            wait_for(chips, "manufacturing", board=1)
            async with SmpDriver(said[1]["port"], {"timeout_s": 0.5}) as driver:
                assert (await hello(driver)).chip_id == "7c:df:a1:00:00:02"
                await driver.keygen("p256")
            shown.append(chips.tell(1, show=True))
    assert shown[0]["spki_sha256"] == shown[1]["spki_sha256"] is not None
    assert shown[0]["flash_sha256"] == shown[1]["flash_sha256"]
    assert shown[0]["efuses_sha256"] == shown[1]["efuses_sha256"]


def test_buttons_and_faults(tmp_path: Path, bundle: Path) -> None:
    arguments = ("--chip", "esp32s3", "--preset", "current", "--bundle", str(bundle))
    with farm(tmp_path, *arguments) as chips:
        port = Path(chips.said[0]["port"])
        before = wait_for(chips, "manufacturing")
        assert chips.tell(0, press="power off", show=True)["state"] == "off"
        assert chips.tell(0, press="power on", show=True)["state"] == "run"
        chips.tell(0, press="unplug")
        assert not port.exists()
        chips.tell(0, press="plug")
        assert port.exists()
        assert chips.tell(0, press="reset download", show=True)["state"] == "loader"
        chips.tell(0, faults=[{"kind": "silent"}])
        assert not chips.ask(board=0, faults=[{"kind": "no such fault"}])["ok"]
        assert not chips.ask(board=0, press="no such button")["ok"]
        assert not chips.ask(board=7, show=True)["ok"]
        chips.tell(0, press="reset run")
        assert wait_for(chips, "manufacturing")["flash_sha256"] == before["flash_sha256"]


def test_an_exchanged_chip_is_a_new_one(tmp_path: Path, bundle: Path) -> None:
    arguments = ("--chip", "esp32s3", "--preset", "current", "--bundle", str(bundle))
    with farm(tmp_path, *arguments) as chips:
        port = chips.said[0]["port"]
        assert chips.tell(0, exchange=True)["chip"] == "7c:df:a1:00:00:02"
        assert Path(port).exists()
        assert wait_for(chips, "manufacturing")["mac"] == "7c:df:a1:00:00:02"


def test_locked_chips_run_the_manufacturing_firmware(tmp_path: Path, bundle: Path) -> None:
    arguments = ("--chip", "esp32s3", "--preset", "locked", "--bundle", str(bundle))
    with farm(tmp_path, *arguments) as chips:
        shown = wait_for(chips, "manufacturing")
    assert shown["locks"] == {"secure_boot": True, "flash_encryption": True, "debug_closed": True}
    assert not shown["sealed"]


def test_personalized_chips_have_k_chip(tmp_path: Path) -> None:
    secrets = tmp_path / "keys.csv"
    secrets.write_text(f"chip_id,hexkey\n7c:df:a1:00:00:01,{7:064x}\n")
    arguments = ("--chip", "esp32s3", "--count", "2", "--secrets", str(secrets))
    with farm(tmp_path, *arguments) as chips:
        assert [line.get("board") for line in chips.said] == [0, 1, None]
        burned = [chips.tell(board, show=True)["purposes"] for board in (0, 1)]
    assert [8 in purposes for purposes in burned] == [True, False]
