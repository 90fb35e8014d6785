"""What a chip says of itself, and what a station may do to it. Pure.

`stage` tells how far a chip is on its way; `check_bundle` and `check_chip` refuse whatever cannot be right,
and the driver calls both before it writes the first byte or burns the first eFuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.adapters.drivers.esp32.images import ImageFacts
from agent.core import firmware_demands
from agent.core.bundle import Bundle, Burn, Manifest, Role
from agent.core.file_problems import problems
from agent.core.version import version_key
from agent.errors import BoardError, BundleMismatch, LineError
from agent.ports import BoardIdentity, FirmwareComponent, FirmwareDemands

_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_SECURE_BOOT_V2_ESP32 = 300  # chip revision v3.0: earlier ones know secure boot v1 alone
_ALL_CRYPT_BITS = {"esp32": 0x7F}  # of FLASH_CRYPT_CNT; SPI_BOOT_CRYPT_CNT of the later chips has three
_THREE_BITS = 0x7
_BOOTABLE = frozenset({Role.BOOTLOADER, Role.SECURE_BOOTLOADER, Role.MANUFACTURING, Role.APPLICATION})

# eFuses that a station never burns: keys come into being in the chip, protections are its firmware's.
# Nor what turns secure boot on: that is the secure bootloader's, which looks at the signatures first.
_KEYS = re.compile(
    r"BLOCK.*|KEY_PURPOSE_.*|.*_KEY|MAC.*|CUSTOM_MAC|OPTIONAL_UNIQUE_ID|RD_DIS|WR_DIS|FLASH_CRYPT_CONFIG"
    r"|SECURE_BOOT_EN|ABS_DONE_[01]"
)
# These close the way by which a station looks at the chip: nothing can be read back after them.
CLOSING = frozenset({"ENABLE_SECURITY_DOWNLOAD", "DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS"})
_ONLY_AFTER_FIRST_BOOT = CLOSING | {"SPI_BOOT_CRYPT_CNT", "FLASH_CRYPT_CNT"}


class ChipReport(BaseModel):
    """What the worker read of a chip's ROM, eFuses and flash."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    chip: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]  # esp32, esp32s3, …
    description: Annotated[str, Field(pattern=r"^[ -~]{0,80}$")]  # for people
    revision: Annotated[int, Field(ge=0, le=9999)]  # major × 100 + minor
    mac: Annotated[str, Field(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")] | None  # None: secure download mode
    secure_download: bool  # the ROM answers almost nothing any more
    secure_boot: bool  # version 2
    secure_boot_v1: bool
    digests: tuple[_Hex32, ...]  # of secure boot keys that stand in eFuses and are not revoked
    crypt_count: Annotated[int, Field(ge=0, le=0xFF)]  # FLASH_CRYPT_CNT or SPI_BOOT_CRYPT_CNT
    crypt_count_fixed: bool  # it is write-protected
    key_burned: bool  # a flash encryption key stands in the eFuses
    debug_closed: bool  # JTAG is off for good


class Stage(Enum):
    """How far a chip is with locking itself."""

    OPEN = "open"  # nothing has begun
    LOCKING = "locking"  # a first boot was cut: the key is made, and the flash half encrypted
    LOCKED = "locked"  # flash encryption is on


def parse_report(fields: object) -> ChipReport:
    """Reads a worker's answer. Raises `LineError` for anything else."""
    try:
        return (
            ChipReport.model_validate_json(fields) if isinstance(fields, str | bytes) else _from_json(fields)
        )
    except ValidationError as error:
        raise LineError("worker_junk", f"the worker's report: {problems(error)[0]}") from error


def _from_json(fields: object) -> ChipReport:
    if isinstance(fields, dict) and isinstance(fields.get("digests"), list):
        fields = fields | {"digests": tuple(fields["digests"])}
    return ChipReport.model_validate(fields)


def stage(report: ChipReport) -> Stage:
    """Where the chip stands. One whose ROM answers nothing more counts as locked: nothing is mended there."""
    if report.secure_download or report.crypt_count.bit_count() % 2:
        return Stage.LOCKED
    return Stage.LOCKING if report.key_burned else Stage.OPEN


def locks(report: ChipReport) -> dict[str, bool]:
    """The locks by the names that boards use in `sec`.

    Flash encryption counts as closed only where nobody can open it again over the serial line: ESP-IDF's
    development mode leaves the counter so that the host may turn it even once more.
    """
    encrypted = report.crypt_count.bit_count() % 2 == 1
    full = report.crypt_count == _ALL_CRYPT_BITS.get(report.chip, _THREE_BITS)
    return {
        "secure_boot": report.secure_boot,
        "flash_encryption": encrypted and (full or report.crypt_count_fixed or report.secure_download),
        "debug_closed": report.debug_closed,
    }


def check_bundle(bundle: Bundle, demanded: FirmwareDemands) -> None:
    """Refuses what is wrong whatever the chip.

    Raises:
        BundleMismatch: it is not what the order demands, or older than it says itself: no board can pass.
        BoardError: `burn_refused`.
    """
    manifest = bundle.manifest
    firmware_demands.check_bundle(
        bundle, digest=demanded.bundle_sha256, minimum_firmware=demanded.minimum_firmware
    )
    firmware_demands.check_bundle(bundle, digest=None, minimum_firmware=manifest.minimum_versions)
    if "secure_boot" in demanded.required_locks and manifest.secure_boot is None:
        raise BundleMismatch(
            "bundle_unlocked", "the work order requires secure boot, which the bundle does not turn on"
        )
    check_burns(manifest.burns)


def _is_newer(version: str, than: str) -> bool:
    """Fails closed: what is no version counts as newer."""
    try:
        return version_key(version) > version_key(than)
    except ValueError:
        return True


def check_burns(burns: tuple[Burn, ...]) -> None:
    """Refuses eFuses that a station does not burn, and an order in which they cannot be read back."""
    for number, burn in enumerate(burns):
        if _KEYS.fullmatch(burn.name):
            raise _burn_refused(
                f"{burn.name}: keys, identities, protections and secure boot are not burned by a station"
            )
        if burn.value <= 0:
            raise _burn_refused(f"{burn.name}: {burn.value} burns nothing")
        if burn.name in _ONLY_AFTER_FIRST_BOOT and not burn.after_first_boot:
            raise _burn_refused(f"{burn.name}: only after the first boot")
        if burn.name in CLOSING and number != len(burns) - 1:
            raise _burn_refused(f"{burn.name}: must be the last one, for nothing can be read back after it")
    names = [burn.name for burn in burns]
    if len(set(names)) != len(names):
        raise _burn_refused("an eFuse appears twice")


def _burn_refused(detail: str) -> BoardError:
    return BoardError("burn_refused", detail, remedy="Mend the burns in the bundle's manifest.")


def check_chip(report: ChipReport, manifest: Manifest, images: Mapping[str, ImageFacts]) -> None:
    """Refuses a chip that this bundle is not for. Raises `BoardError`."""
    if report.chip != manifest.chip:
        raise BoardError(
            "bundle_other_chip",
            f"the board has an {report.chip}, the bundle is for {manifest.chip}",
            remedy="The board is of another product, or the station has the wrong bundle.",
        )
    if report.secure_download:
        return  # revision and digests cannot be read, and nothing can be written
    if report.secure_boot_v1:
        raise _sealed("the chip has secure boot v1")
    _check_revision(report, manifest, images)
    _check_secure_boot(report, manifest, images)


def _check_revision(report: ChipReport, manifest: Manifest, images: Mapping[str, ImageFacts]) -> None:
    revision = f"v{report.revision // 100}.{report.revision % 100}"
    old = report.chip == "esp32" and report.revision < _SECURE_BOOT_V2_ESP32
    if old and manifest.secure_boot is not None:
        raise _wrong_revision(f"the chip is of revision {revision}; secure boot v2 begins with v3.0")
    for name, facts in images.items():
        if facts.revisions is not None and not facts.revisions[0] <= report.revision <= facts.revisions[1]:
            raise _wrong_revision(f"the chip is of revision {revision}, which image {name} does not run on")


def _wrong_revision(detail: str) -> BoardError:
    return BoardError(
        "chip_revision", detail, remedy="Put the board aside: it has another chip than the product."
    )


def _check_secure_boot(report: ChipReport, manifest: Manifest, images: Mapping[str, ImageFacts]) -> None:
    if not report.digests and not report.secure_boot:
        return
    expected = None if manifest.secure_boot is None else manifest.secure_boot.key_sha256.hex()
    if expected is None:
        raise _other_key()
    if any(_is_torn(digest, expected) for digest in report.digests):
        raise BoardError(
            "secure_boot_key_torn",
            "the power failed while the chip burned its secure boot key",
            remedy="Put the board aside: its bootloader takes the half that stands there for a key.",
        )
    # One that stands there beside ours would start firmware of others, unless it is a spare key of the
    # company's: the bundle's own bootloader is signed with that too, and burns it.
    spare = {key.hex() for key in _spare_keys(manifest, images)}
    if expected not in report.digests or not set(report.digests) <= {expected} | spare:
        raise _other_key()
    if not report.secure_boot:
        return
    for image in manifest.images:
        if image.role in _BOOTABLE and bytes.fromhex(expected) not in images[image.name].signing_keys:
            raise BoardError(
                "image_unsigned",
                f"secure boot is on, and image {image.name} is not signed for it",
                remedy="Build a bundle all of whose images are signed, for boards that come locked.",
            )


def _other_key() -> BoardError:
    return BoardError(
        "secure_boot_key_differs",
        "the chip is bound to another secure boot key than the bundle's",
        remedy="Put the board aside: it was locked for another product or company.",
    )


def _spare_keys(manifest: Manifest, images: Mapping[str, ImageFacts]) -> tuple[bytes, ...]:
    bootloader = manifest.image(Role.SECURE_BOOTLOADER) or manifest.image(Role.BOOTLOADER)
    return () if bootloader is None else images[bootloader.name].signing_keys


def _is_torn(digest: str, whole: str) -> bool:
    """True for a digest of which some bits were burned: key blocks of the ESP32 have no code against it."""
    bits, all_bits = int(digest, 16), int(whole, 16)
    return bits != all_bits and bits & ~all_bits == 0


def check_flash_size(flash_size: int | None, manifest: Manifest) -> None:
    """Refuses a flash that the images do not fit into, or whose size nobody knows."""
    needed = max([manifest.flash_size, *(image.offset + image.size for image in manifest.images)])
    if flash_size is None or flash_size < needed:
        known = "of unknown size" if flash_size is None else f"of {flash_size} bytes"
        raise BoardError(
            "flash_too_small",
            f"the chip's flash is {known}; the bundle needs {needed}",
            remedy="Put the board aside: it has another flash than the product.",
        )


def check_installed(installed: str | None, manifest: Manifest) -> None:
    """Refuses to put an older application over a newer one. `installed` is None where none was found."""
    application = manifest.image(Role.APPLICATION)
    if installed is None or application is None or application.version is None:
        return
    try:
        version_key(installed)
    except ValueError:
        return  # something else stands there, whose versions are not ours to compare
    if _is_newer(installed, application.version):
        raise BoardError(
            "firmware_newer",
            f"the chip has application {installed}, the bundle {application.version}",
            remedy="Give the station the newer bundle, or erase the chip at the repair desk.",
        )


def components(manifest: Manifest, *, final: bool) -> dict[str, FirmwareComponent]:
    """What `hello` says of the firmware when it is this bundle's: `firmware_demands.components`."""
    return {
        name: FirmwareComponent(version, digest)
        for name, (version, digest) in firmware_demands.components(manifest, final=final).items()
    }


def check_components(board: BoardIdentity, manifest: Manifest, *, final: bool) -> None:
    """Raises `BoardError("firmware_differs")` unless the board reports exactly this bundle's firmware."""
    expected = components(manifest, final=final)
    wrong = sorted(
        name
        for name in expected.keys() | board.firmware.keys()
        if expected.get(name) != board.firmware.get(name)
    )
    if wrong:
        raise BoardError(
            "firmware_differs",
            f"the board reports other firmware than the bundle's: {', '.join(wrong)}",
            remedy="The firmware's own report or the bundle is wrong: ask those who built it.",
        )


def check_silicon(report: ChipReport, board: BoardIdentity, manifest: Manifest) -> None:
    """Compares what the firmware says after a first boot with the eFuses: before the last ones are burned.

    Raises:
        BoardError: `first_boot_failed`. The firmware says that the chip is locked, and it is not.
    """
    if report.secure_download:
        return  # what it said before it closed was compared then
    open_ones = []
    if manifest.secure_boot is not None and not report.secure_boot:
        open_ones.append("secure boot")
    if board.security_state.get("flash_encryption") and stage(report) is not Stage.LOCKED:
        open_ones.append("flash encryption")
    if open_ones:
        raise BoardError(
            "first_boot_failed",
            f"the firmware says that the chip is locked; not so its eFuses: {', '.join(open_ones)}",
            remedy="Put the board aside and keep it: its firmware does not tell the truth.",
        )


def check_locked(board: BoardIdentity | None, manifest: Manifest) -> None:
    """Lets a board pass that was locked with exactly this firmware, and no other locked one."""
    if board is None:
        raise _sealed("the chip is locked, and its firmware does not answer")
    try:
        check_components(board, manifest, final=True)
    except BoardError as error:
        raise _sealed("the chip is locked with other firmware than the bundle's") from error
    if not board.sealed:
        raise _sealed("the chip is locked, and its firmware says that it is not")


def _sealed(detail: str) -> BoardError:
    return BoardError(
        "chip_sealed", detail, remedy="Put the board aside: nothing can be written to it any more."
    )
