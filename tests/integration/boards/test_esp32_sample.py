"""The sample firmware is one of which the company's own commands make a bundle that a station takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.bundle_files import open_firmware
from agent.adapters.drivers.esp32.bundle_check import check_firmware
from agent.config import BundleFiles
from agent.core.bundle_verify import sign_bundle
from boards.esp32.sample import write_sample
from harness.process import COMMANDS, run


@pytest.mark.parametrize("chip", ["esp32", "esp32s3", "esp32c6"])
async def test_a_station_takes_the_bundle_of_the_sample(chip: str, tmp_path: Path) -> None:
    description = write_sample(chip, tmp_path / "firmware", "2.0.0")
    path, key_file = tmp_path / "sensor.zip", tmp_path / "key.pem"
    run([COMMANDS / "birthmark-agent", "bundle", "build", description, "--out", path])
    key = Ed25519PrivateKey.generate()
    path.write_bytes(sign_bundle(path.read_bytes(), key))
    key_file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    firmware = open_firmware(BundleFiles(path=path, key=key_file), tmp_path)
    await check_firmware(firmware)
    manifest = firmware.bundle.manifest
    assert (manifest.chip, manifest.version) == (chip, "2.0.0")
    assert [burn.after_first_boot for burn in manifest.burns] == [True]
