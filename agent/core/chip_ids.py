"""What no chip is called: ids of chips whose fuses were never written, and addresses that name nobody alone.

check_chip_id("00:00:00:00:00:00")  # raises
"""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[:._-]")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?:(?:[:-][0-9A-Fa-f]{2}){2})?")  # EUI-48, EUI-64
_MULTICAST = 0x01  # of the first octet, IEEE 802


class ChipIdError(ValueError):
    """The id names no chip; the text says why."""


def check_chip_id(chip_id: str, *, mac: bool = False) -> None:
    """Refuses an id that more than one chip would have.

    Args:
        chip_id: as the chip or its firmware says.
        mac: ids of this family are MAC addresses, and nothing else.

    Raises:
        ChipIdError: nothing but zeros or Fs, a multicast address, or no address where the family has them.
    """
    digits = set(_SEPARATORS.sub("", chip_id).lower())
    if digits <= {"0"}:
        raise ChipIdError("the chip id is nothing but zeros")
    if digits == {"f"}:
        raise ChipIdError("the chip id is nothing but Fs")
    is_mac = _MAC.fullmatch(chip_id) is not None
    if mac and not is_mac:
        raise ChipIdError("the chip id is no MAC address")
    if is_mac and int(chip_id[:2], 16) & _MULTICAST:
        raise ChipIdError("the chip id is a multicast address")
