"""Keys and images that several modules share: making them takes longer than what they are used for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from boards.esp32.partitions import default_partitions
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey

SMALL = default_partitions(factory_bytes=0x10000, ota_bytes=0x10000)


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The company's secure boot key."""
    return SigningKey.make(tmp_path_factory.mktemp("secure-boot"))


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """Another company's."""
    return SigningKey.make(tmp_path_factory.mktemp("other-secure-boot"))


@pytest.fixture(scope="session")
def small_images(signing_key: SigningKey) -> Callable[[str], ProductImages]:
    """A product's signed images by family, small ones."""

    @cache
    def make(family: str) -> ProductImages:
        return make_images(
            family, signing_key, partitions=SMALL, app_bytes=16_384, manufacturing_bytes=16_384
        )

    return make
