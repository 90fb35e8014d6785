"""What no chip is called: ids of chips whose fuses were never written, and addresses that name nobody alone.

check_chip_id("00:00:00:00:00:00")  # raises
"""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[:._-]")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?:(?:[:-][0-9A-Fa-f]{2}){2})?")  # EUI-48, EUI-64
_ONE_FORM = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")  # of an ESP32's base MAC, as signerd lists it
_MULTICAST = 0x01  # of the first octet, IEEE 802
_MAKER = 6  # digits: the first three octets are its maker's


class ChipIdError(ValueError):
    """The id names no chip; the text says why."""


def check_chip_id(chip_id: str, *, mac: bool = False) -> None:
    """Refuses an id that more than one chip would have.

    Args:
        chip_id: as the chip or its firmware says.
        mac: ids of this family are MAC addresses, and nothing else.

    Raises:
        ChipIdError: nothing but zeros or Fs, an address of many or of no maker, or no address in its one form
            where the family has them.
    """
    digits = _SEPARATORS.sub("", chip_id).lower()
    if set(digits) <= {"0"}:
        raise ChipIdError("the chip id is nothing but zeros")
    if set(digits) == {"f"}:
        raise ChipIdError("the chip id is nothing but Fs")
    if _MAC.fullmatch(chip_id) is not None:
        if int(digits[:2], 16) & _MULTICAST:
            raise ChipIdError("the chip id is a multicast address")
        if digits == digits[:2] * (len(digits) // 2):
            raise ChipIdError("the chip id is one octet again and again")
        if not int(digits[:_MAKER], 16):
            raise ChipIdError("the chip id is an address of no maker: it begins with three octets of zeros")
    if mac and _ONE_FORM.fullmatch(chip_id) is None:
        raise ChipIdError("the chip id is no MAC address in lower case with colons")
