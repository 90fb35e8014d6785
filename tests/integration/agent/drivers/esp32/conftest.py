"""A key and images that the modules share: signing them takes seconds a family."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.ports import Firmware
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from harness.esp32_rig import BURNS, make_firmware


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.make(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="session")
def images(key: SigningKey) -> Callable[[str], ProductImages]:
    return functools.cache(lambda chip: make_images(chip, key))


@pytest.fixture
def firmware(
    tmp_path: Path, key: SigningKey, images: Callable[[str], ProductImages]
) -> Callable[[str], Firmware]:
    def make(chip: str) -> Firmware:
        burns = () if chip == "esp32" else BURNS
        return make_firmware(tmp_path / chip, images(chip), key_pem=key.public_pem, burns=burns)

    return make
