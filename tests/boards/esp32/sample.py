"""A product's firmware for trials: `PYTHONPATH=tests python -m boards.esp32.sample esp32s3 DIR`.

Writes what a build would leave: signed images with the markers that simulated chips obey, both halves of the
secure boot key, and a description from which `birthmark-agent bundle build` makes a bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from boards.esp32.images import FAMILIES
from boards.esp32.product import make_images
from boards.esp32.signing import SigningKey

_HEAD = """\
product = "sensor"
version = "{version}"
chip = "{chip}"
flash_size = "4MB"
"""
_IMAGE = """
[[image]]
role = "{role}"
file = "{file}"
"""
_TAIL = """
[secure_boot]
public_key = "secure-boot.pub.pem"

[[burn]]
name = "{closing}"
value = 1
when = "first-boot"
"""
# What closes download mode: the ESP32 knows no secure download.
_CLOSING = {"esp32": "UART_DOWNLOAD_DIS"}


def write_sample(chip: str, folder: Path, version: str) -> Path:
    """Writes all of it into a new folder; returns the description."""
    folder.mkdir(parents=True)
    key = SigningKey.make(folder)
    (folder / "secure-boot.pub.pem").write_text(key.public_pem, encoding="ascii")
    paths = make_images(chip, key, version=version).write(folder)
    images = "".join(_IMAGE.format(role=role, file=path.name) for role, path in paths.items())
    tail = _TAIL.format(closing=_CLOSING.get(chip, "ENABLE_SECURITY_DOWNLOAD"))
    description = folder / "bundle.toml"
    description.write_text(_HEAD.format(version=version, chip=chip) + images + tail, encoding="utf-8")
    return description


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="boards.esp32.sample", description="A product's firmware, for trials"
    )
    parser.add_argument("chip", choices=sorted(FAMILIES))
    parser.add_argument("folder", type=Path, help="new")
    parser.add_argument("--version", default="1.4.0", help="of application and bundle")
    arguments = parser.parse_args()
    print(write_sample(arguments.chip, arguments.folder, arguments.version))


if __name__ == "__main__":
    main()
