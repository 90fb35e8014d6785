# SPDX-License-Identifier: GPL-2.0-or-later
"""eFuses by espefuse: what stands in them, and burning them one by one, each read back.

Only numbers and flags are burned, never a key block; which of them, the caller has decided. A burn that
stands there already is skipped, so that all of it may be repeated after a power cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esptool import FatalError

from agent.adapters.drivers.esp32.gpl.errors import ESPTOOL_RAISES, WorkerError, translate

Burns = Sequence[tuple[str, int]]
"""Names and values, in the order of burning."""

_NUMBERS = ("bool", "uint", "int")
_CLOSING = frozenset({"ENABLE_SECURITY_DOWNLOAD", "DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS"})
_DIGEST_PURPOSES = ("SECURE_BOOT_DIGEST0", "SECURE_BOOT_DIGEST1", "SECURE_BOOT_DIGEST2")
_JTAG = ("JTAG_DISABLE", "HARD_DIS_JTAG", "DIS_PAD_JTAG")


def load() -> Any:
    """Loads espefuse: a third of a worker's start-up time, so not before the first board is under way."""
    import espefuse  # noqa: PLC0415
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415

    if yaml.__with_libyaml__:  # espefuse parses its table of fields at each look, most of its CPU time
        yaml.SafeLoader = yaml.CSafeLoader
    return espefuse


def read(esp: Any) -> Any:
    """All eFuses of a chip. About a hundred words: some tenths of a second at 115,200 baud."""
    return load().init_commands(esp=esp, do_not_confirm=True)


def _has(efuses: Any, name: str) -> bool:
    return any(name in field.all_names for field in efuses.efuses)


def _flag(efuses: Any, name: str) -> bool:
    return _has(efuses, name) and bool(efuses[name].get_raw())


def state(esp: Any) -> dict[str, Any]:
    """The part of a chip's report that eFuses tell."""
    efuses = read(esp).efuses
    esp32 = esp.CHIP_NAME == "ESP32"
    counter = efuses["FLASH_CRYPT_CNT" if esp32 else "SPI_BOOT_CRYPT_CNT"]
    return {
        "secure_boot": _flag(efuses, "ABS_DONE_1" if esp32 else "SECURE_BOOT_EN"),
        "secure_boot_v1": _flag(efuses, "ABS_DONE_0"),
        "digests": _digests_esp32(efuses) if esp32 else _digests(efuses),
        "crypt_count": int(counter.get_raw()),
        "crypt_count_fixed": not counter.is_writeable(),
        "key_burned": _key_burned_esp32(efuses) if esp32 else _key_burned(efuses),
        # A chip with JTAG over USB has two ways in.
        "debug_closed": any(_flag(efuses, name) for name in _JTAG)
        and (not _has(efuses, "DIS_USB_JTAG") or _flag(efuses, "DIS_USB_JTAG")),
    }


def _digests_esp32(efuses: Any) -> list[str]:
    block = efuses.blocks[2]
    digest = block.get_bitstring().bytes[::-1]
    return [digest.hex()] if any(digest) else []


def _key_burned_esp32(efuses: Any) -> bool:
    block = efuses.blocks[1]
    return not block.is_readable() or any(block.get_bitstring().bytes)


def _digests(efuses: Any) -> list[str]:
    found = []
    for block in efuses.blocks:
        purpose = "" if block.key_purpose_name is None else str(efuses[block.key_purpose_name].get())
        if purpose in _DIGEST_PURPOSES and not _flag(efuses, f"SECURE_BOOT_KEY_REVOKE{purpose[-1]}"):
            found.append(block.get_bitstring().bytes[::-1].hex())
    return found


def _key_burned(efuses: Any) -> bool:
    purposes = [
        str(efuses[b.key_purpose_name].get()) for b in efuses.blocks if b.key_purpose_name is not None
    ]
    # The key block is burned with its purpose; one that a cut left with data and without purpose is no key.
    return any(purpose.startswith("XTS_AES") and "PSRAM" not in purpose for purpose in purposes)


def check(chip: str, burns: Burns) -> dict[str, Any]:
    """Refuses burns that this kind of chip does not know. No chip is asked."""
    efuses = load().init_commands(chip=chip, virt=True, do_not_confirm=True).efuses
    for name, value in burns:
        _value(efuses, name, value)
    return {}


def _value(efuses: Any, name: str, value: int) -> int:
    if not _has(efuses, name):
        raise WorkerError(
            "board", "burn_refused", f"the chip has no eFuse {name}", "Mend the bundle's manifest."
        )
    field = efuses[name]
    if not field.efuse_type.startswith(_NUMBERS):
        raise WorkerError(
            "board", "burn_refused", f"{name} is no number or flag", "Mend the bundle's manifest."
        )
    bits = field.bitarray.len
    if not 0 < value < 1 << bits:
        detail = f"{name} has {bits} bits, and {value} does not fit or burns nothing"
        raise WorkerError("board", "burn_refused", detail, "Mend the bundle's manifest.")
    return value


def burned(esp: Any, burns: Burns) -> list[bool]:
    """Which of them stand there, bit by bit."""
    efuses = read(esp).efuses
    return [int(efuses[name].get_raw()) == _value(efuses, name, value) for name, value in burns]


def burn(esp: Any, burns: Burns) -> list[str]:
    """Burns those that are missing, in order, and reads each back before the next.

    Returns the names of those that were burned. What closes the way to the chip cannot be read back here: the
    caller looks with a new connection.
    """
    commands = read(esp)
    for name, value in burns:
        _check_burnable(commands.efuses, name, value)
    done = []
    for name, value in burns:
        if int(commands.efuses[name].get_raw()) == value:
            continue
        _burn_one(commands, name, value)
        done.append(name)
    return done


def _check_burnable(efuses: Any, name: str, value: int) -> None:
    """Before the first of them is burned: could all of them be?"""
    field = efuses[name] if _has(efuses, name) else None
    wanted = _value(efuses, name, value)
    standing = 0 if field is None else int(field.get_raw())
    if standing == wanted:
        return
    if standing & ~wanted:
        detail = f"{name} is {standing:#x} and cannot become {wanted:#x}"
        raise WorkerError(
            "board", "burn_failed", detail, "Put the board aside: its eFuses are other than the product's."
        )
    if field is not None and not field.is_writeable():
        detail = f"{name} is {standing:#x} and write-protected"
        raise WorkerError(
            "board", "burn_failed", detail, "Put the board aside: its eFuses are other than the product's."
        )


def _burn_one(commands: Any, name: str, value: int) -> None:
    closing = name in _CLOSING
    if closing:
        commands.efuses.reconnect_chip = (
            _do_not_reconnect  # espefuse would reset the chip by lines we may not have
        )
    try:
        commands.burn_efuse({name: value})
    except ESPTOOL_RAISES as error:
        if closing:
            return
        raise translate(error, f"burning {name}") from error
    if not closing and int(commands.efuses[name].get_raw()) != value:
        raise WorkerError(
            "board", "burn_failed", f"{name} was burned and reads otherwise", "Put the board aside."
        )


def _do_not_reconnect(_esp: Any) -> Any:
    raise FatalError("the way to the chip is closed")
