"""Images and keys as we read them, and as esptool and espsecure do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.core.esp_image import ImageError, parse_image
from boards.esp32.images import FAMILIES, app_image, bootloader_image
from boards.esp32.signing import SigningKey


def tool(folder: Path, module: str, command: str, image: bytes) -> str:
    path = folder / "image.bin"
    path.write_bytes(image)
    done = subprocess.run(
        [sys.executable, "-m", module, command, str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("chip", FAMILIES)
def test_applications_are_read_as_esptool_reads_them(tmp_path: Path, chip: str) -> None:
    data = app_image(chip, "sensor", "1.4.0-rc.1", {}, size=6_000)
    text, image = tool(tmp_path, "esptool", "image-info", data), parse_image(data)
    assert image.app is not None
    assert said(text, "App version") == image.app.version
    assert said(text, "Project name") == image.app.project
    assert said(text, "Validation hash") == f"{image.digest.hex()} (valid)"
    assert said(text, "Chip ID").startswith(f"{image.chip_id} ")
    assert said(text, "Checksum").endswith("(valid)")


@pytest.mark.parametrize("chip", FAMILIES)
def test_bootloaders_are_read_as_esptool_reads_them(tmp_path: Path, chip: str) -> None:
    data = bootloader_image(chip, 7, {}, size=4_000)
    text, image = tool(tmp_path, "esptool", "image-info", data), parse_image(data)
    assert said(text, "Bootloader version") == str(image.bootloader_version)
    assert said(text, "Validation hash") == f"{image.digest.hex()} (valid)"


@pytest.mark.parametrize(
    ("position", "wrong", "text"),
    [
        pytest.param(200, "Checksum", "checksum", id="code"),
        pytest.param(10, "Validation hash", "appended SHA-256", id="header"),
    ],
)
def test_what_esptool_calls_invalid_is_refused(tmp_path: Path, position: int, wrong: str, text: str) -> None:
    data = bytearray(app_image("esp32s3", "sensor", "1.4.0", {}, size=6_000))
    data[position] ^= 1
    assert "invalid" in said(tool(tmp_path, "esptool", "image-info", bytes(data)), wrong)
    with pytest.raises(ImageError, match=text):
        parse_image(bytes(data))


def test_keys_of_signatures_are_read_as_espsecure_reads_them(tmp_path: Path) -> None:
    key = SigningKey.make(tmp_path)
    signed = key.sign(app_image("esp32s3", "sensor", "1.4.0", {}, size=6_000))
    text = tool(tmp_path, "espsecure", "signature-info-v2", signed)
    digest = said(text, "Public key digest for block 0").replace(" ", "")
    assert [digest] == [one.hex() for one in parse_image(signed).signing_keys]
