"""What an order demands of a bundle, compared before a byte is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.core.bundle import Bundle, Role
from agent.core.firmware_demands import check_bundle
from agent.errors import BundleMismatch
from harness.paper_chip import bundle

DIGEST = bytes(range(32))
GOOD = bundle(digest=DIGEST, app="1.4.0")


def two_bootloaders(plain: str, secure: str | None) -> Bundle:
    """Two images that boards report as `boot`."""
    (image,) = GOOD.manifest.images
    images = (
        image,
        replace(image, name="bootloader", role=Role.BOOTLOADER, component="boot", version=plain),
        replace(image, name="secure", role=Role.SECURE_BOOTLOADER, component="boot", version=secure),
        replace(image, name="table", role=Role.PARTITION_TABLE, component=None, version=None),
    )
    return replace(GOOD, manifest=replace(GOOD.manifest, images=images))


@pytest.mark.parametrize(
    ("digest", "minimum"),
    [
        (DIGEST, {}),
        (None, {}),
        (DIGEST, {"app": "1.4.0"}),
        (DIGEST, {"app": "1.4"}),
        (DIGEST, {"app": "1.3.9"}),
        (DIGEST, {"app": "1.4.0-rc1"}),
        (DIGEST, {"modem": "9.9"}),  # not the bundle's to bring
    ],
    ids=str,
)
def test_bundle_that_meets_them(digest: bytes | None, minimum: Mapping[str, str]) -> None:
    check_bundle(GOOD, digest=digest, minimum_firmware=minimum)


@pytest.mark.parametrize("digest", [bytes(32), DIGEST[:31], b""], ids=["other", "cut", "empty"])
def test_another_bundle(digest: bytes) -> None:
    with pytest.raises(BundleMismatch) as refused:
        check_bundle(GOOD, digest=digest, minimum_firmware={})
    assert (refused.value.code, refused.value.stops_line) == ("bundle_differs", True)


@pytest.mark.parametrize("least", ["1.4.1", "1.10", "2", "no version at all"])
def test_older_bundle(least: str) -> None:
    with pytest.raises(BundleMismatch, match=r"app 1\.4\.0 of the bundle is below") as refused:
        check_bundle(GOOD, digest=DIGEST, minimum_firmware={"app": least})
    assert (refused.value.code, refused.value.stops_line) == ("bundle_too_old", True)


@pytest.mark.parametrize(
    ("plain", "secure", "passes"),
    [("2.0", "2.0", True), ("2.0", "1.9", False), ("1.9", "2.0", False), ("2.0", None, False)],
)
def test_each_image_of_a_component_counts(plain: str, secure: str | None, *, passes: bool) -> None:
    made = two_bootloaders(plain, secure)
    if passes:
        check_bundle(made, digest=DIGEST, minimum_firmware={"boot": "2.0"})
        return
    with pytest.raises(BundleMismatch, match="boot"):
        check_bundle(made, digest=DIGEST, minimum_firmware={"boot": "2.0"})
