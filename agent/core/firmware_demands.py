"""What a work order demands of a station's firmware bundle, checked before a byte is written.

signerd has the last word: it refuses evidence and stamps of other firmware. The station asks first because a
board that was flashed with the wrong firmware and locked is a board lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.bundle import Bundle, Manifest, Role
from agent.core.version import version_key
from agent.errors import BundleMismatch


def check_bundle(bundle: Bundle, *, digest: bytes | None, minimum_firmware: Mapping[str, str]) -> None:
    """Compares the station's bundle with what a work order names.

    Args:
        bundle: the station's.
        digest: of the bundle that the order names, 32 bytes; None where it names none.
        minimum_firmware: least version by component. Components that no image of the bundle is for are not
            the bundle's to bring: a modem's firmware, for example.

    Raises:
        BundleMismatch: `bundle_differs` or `bundle_too_old`. No board of this order can pass.
    """
    if digest is not None and digest != bundle.digest:
        raise BundleMismatch(
            "bundle_differs",
            f"the work order names bundle {digest.hex()[:16]}…, the station has {bundle.digest.hex()[:16]}…",
        )
    for image in bundle.manifest.images:
        least = minimum_firmware.get(image.component) if image.component is not None else None
        if least is not None and _is_older(image.version, least):
            raise BundleMismatch(
                "bundle_too_old",
                f"{image.component} {image.version or 'without a version'} of the bundle is below {least}",
            )


def components(manifest: Manifest, *, final: bool) -> dict[str, tuple[str, bytes]]:
    """Version and digest of each component that a board reports when it runs this bundle's firmware.

    The manufacturing firmware reports itself beside the application; the application, `final`, reports the
    bootloader that stands there at the end.
    """
    secure = manifest.image(Role.SECURE_BOOTLOADER) is not None
    left_out = (
        {Role.MANUFACTURING, Role.BOOTLOADER if secure else None} if final else {Role.SECURE_BOOTLOADER}
    )
    return {
        image.component: (image.version or "", image.digest or b"")
        for image in manifest.images
        if image.component is not None and image.role not in left_out
    }


def _is_older(version: str | None, least: str) -> bool:
    """What cannot be compared counts as older."""
    try:
        return version is None or version_key(version) < version_key(least)
    except ValueError:
        return True
