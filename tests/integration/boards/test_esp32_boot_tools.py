"""The real esptool and espefuse on chips that boot: what they write starts, what they burn firmware sees."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from boards.esp32.boot import BootOptions
from boards.esp32.product import ProductImages
from harness.esp32_boots import BootBench

MakeImages = Callable[[str], ProductImages]

some_families = pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
JTAG = {"esp32": ["JTAG_DISABLE", "1"], "esp32s3": ["DIS_PAD_JTAG", "1", "DIS_USB_JTAG", "1"]}
JTAG["esp32c3"] = JTAG["esp32s3"]


async def _tool(bench: BootBench, tmp_path: Path, module: str, *arguments: str | Path) -> str:
    """In an empty folder: esptool reads configuration files of its working directory."""
    empty = tmp_path / "empty"
    empty.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "--port", str(bench.port), *map(str, arguments),
        cwd=empty, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def _write_flash(tmp_path: Path, images: dict[int, bytes]) -> list[str]:
    arguments = ["write-flash"]
    for offset, image in images.items():
        path = tmp_path / f"{offset:x}.bin"
        path.write_bytes(image)
        arguments += [hex(offset), str(path)]
    return arguments


@some_families
async def test_what_esptool_flashes_boots_and_locks(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path) as bench:
        await _tool(bench, tmp_path, "esptool", *_write_flash(tmp_path, images.manufacturing_stage))
        bench.reset()
        await bench.until_runs("manufacturing")
        bench.board.handle(write=True, command="keygen", body={"type": "p256"})
        key = bench.board.storage.get("key")
        await _tool(bench, tmp_path, "esptool", *_write_flash(tmp_path, images.final_stage))
        bench.reset()
        await bench.until_runs("application")
        assert bench.hello()["sealed"]
        assert bench.board.storage.get("key") == key


@some_families
async def test_firmware_sees_what_espefuse_burned(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    async with BootBench(family, tmp_path, small_images(family).manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        assert not bench.hello()["sec"]["debug_closed"]
        await _tool(bench, tmp_path, "espefuse", "--do-not-confirm", "burn-efuse", *JTAG[family])
        bench.reset()
        await bench.until_runs("manufacturing")
        assert bench.hello()["sec"]["debug_closed"]


async def test_a_first_boot_takes_its_time(tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images("esp32c3")
    seconds = 0.5
    options = BootOptions(first_boot_s=seconds)
    async with BootBench(
        "esp32c3", tmp_path, images.manufacturing_stage | images.final_stage, boot=options
    ) as bench:
        began = bench.chip.now()
        await bench.until_runs("application")
        assert bench.chip.now() - began > 0.8 * seconds
