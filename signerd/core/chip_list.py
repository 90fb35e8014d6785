"""Lists of chips as people write them: one chip id a line (docs/formats.md, "Lists of chips").

What a list names is burned into chips, or certified, and neither can be taken back. Guarantees that a list
which passes names each chip once, in one spelling, and nothing that is no chip: no header, no MAC address
that no chip has.

    chip_ids = read_list(text)
    lines = read_list(text, line=check_line)   # of a work order, where key= and ueid= may stand too
    check_macs(chip_ids)      # where the list says into which chips a key is burned
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from signerd.core.names import is_chip_id

MAC_FORM = "six pairs of lower-case hexadecimal digits, joined by colons, as in 7c:df:a1:00:00:01"
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
# Ways in which tools print the same six bytes. Bare digits are not here: they may be a serial number.
_LIKE_A_MAC = re.compile(
    r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)
_SPELLING = "letter case alone, or as one MAC address is written with and without colons"
_FORMS = {"key": re.compile(r"[0-9a-f]{64}"), "ueid": re.compile(r"(?:[0-9a-f]{2}){1,64}")}
_FORM_WORDS = {
    "key": "the SHA-256 of a SubjectPublicKeyInfo: 64 lower-case hexadecimal digits",
    "ueid": "1 to 64 bytes, lower-case hexadecimal",
}
_BARE_MAC = re.compile(r"[0-9a-f]{12}")
# Digits of a MAC address, an EUI-64, and ids of 96 and 128 bits: of zeros or ones alone where none was read.
_UNREAD_DIGITS = frozenset({12, 16, 24, 32})
_BROADCAST = "ff" * 6
_ZERO = "00" * 6
_MULTICAST_BIT = 1  # of the first octet, IEEE 802-2014 §8.2
_HEADERS = frozenset(
    f"{what}{of}"
    for what in (
        *("", "chip", "device", "board", "module", "unit", "dev", "base", "mac", "wifi", "hw", "esp"),
        *("wlan", "ble", "bt", "eth", "mcu", "soc", "cpu", "unique", "hardware", "factory", "efuse"),
    )
    for of in (
        "",
        "id",
        "ids",
        "uid",
        "name",
        "mac",
        "macs",
        "address",
        "addr",
        "serial",
        "serialnumber",
        "number",
        "no",
    )
) | {
    "chips",
    "devices",
    "boards",
    "sn",
    "uuid",
    "ueid",
    "udid",
    "eui",
    "eui48",
    "eui64",
    "identifier",
    "key",
    "keyid",
}
_HEADERS -= {""}


class ChipListError(ValueError):
    """A line, or a list, that names no chips. The text says which and why."""


def read_list(text: str, *, line: Callable[[str], object] | None = None) -> list[str]:
    """The chip ids of a list, in its order; empty lines do not count.

    Args:
        text: of the file.
        line: looks at one line; `check_chip_id` unless another is given.

    Raises:
        ChipListError: a line is no chip id, names a chip once more, or is a header; or there is no chip.
    """
    lines: dict[str, int] = {}
    spellings: dict[str, int] = {}
    check = line or check_chip_id
    for number, written in enumerate(text.split("\n"), 1):
        chip_id = written.strip(" \t\r")
        if not chip_id:
            continue
        try:
            check(chip_id)
        except ChipListError as error:
            raise ChipListError(f"line {number}: {error}") from error
        if chip_id in lines:
            raise ChipListError(f"line {number}: {chip_id} is in line {lines[chip_id]} too")
        before = spellings.setdefault(_folded(chip_id), number)
        if before != number:
            raise ChipListError(f"line {number}: {chip_id} and line {before} differ by {_SPELLING}")
        lines[chip_id] = number
    if not lines:
        raise ChipListError("it holds no chip id")
    _check_first(list(lines))
    return list(lines)


def check_chip_id(chip_id: str) -> None:
    """Whatever list it stands in.

    Raises:
        ChipListError: it is no chip id, the name of a column, or a MAC address that no chip has, or in
            another spelling than signerd's.
    """
    if not is_chip_id(chip_id):
        raise ChipListError(f"{chip_id[:80]!r} is not a chip id: 1 to 64 of [A-Za-z0-9._:-]")
    if re.sub(r"[._:-]", "", chip_id).lower() in _HEADERS:
        raise ChipListError(f"{chip_id} is the name of a column, not a chip: a list has no header")
    if _LIKE_A_MAC.fullmatch(chip_id):
        _check_mac(chip_id)
    digits = re.sub(r"[.:-]", "", chip_id).lower()
    if len(digits) in _UNREAD_DIGITS and set(digits) in ({"0"}, {"f"}):
        raise ChipListError(f"{chip_id} is no chip's id: it was not read, or its fuses are not burned")


def check_line(line: str) -> str:
    """By what a line of a work order's list names its chip: "id", "key" or "ueid".

    Raises:
        ChipListError: by none of them.
    """
    kind, sign, value = line.partition("=")
    if not sign:
        check_chip_id(line)
        return "id"
    form = _FORMS.get(kind)
    if form is None:
        raise ChipListError(f"{line[:80]!r}: a line is a chip id, key=… or ueid=…")
    if not form.fullmatch(value):
        raise ChipListError(f"{line[:80]!r}: {kind}= wants {_FORM_WORDS[kind]}")
    return kind


def check_together(chip_ids: Iterable[str]) -> None:
    """Raises ChipListError if two of them differ by letter case alone, or are one MAC address."""
    spellings: dict[str, str] = {}
    for chip_id in chip_ids:
        other = spellings.setdefault(_folded(chip_id), chip_id)
        if other != chip_id:
            raise ChipListError(f"chip {chip_id}: it and {other} differ by {_SPELLING}: one chip has one id")


def _folded(chip_id: str) -> str:
    """What two spellings of one id have in common."""
    folded = chip_id.lower()
    if _LIKE_A_MAC.fullmatch(folded):
        bare = re.sub(r"[.:-]", "", folded)
        return bare if _BARE_MAC.fullmatch(bare) else folded
    return folded


def check_macs(chip_ids: Iterable[str]) -> None:
    """Raises ChipListError unless each is a unicast MAC address in signerd's form."""
    for chip_id in chip_ids:
        if not _MAC.fullmatch(chip_id):
            raise ChipListError(f"{chip_id} is not the MAC address of a chip: {MAC_FORM}")
        _check_mac(chip_id)


def _check_mac(chip_id: str) -> None:
    digits = re.sub(r"[.:-]", "", chip_id).lower()
    if digits in {_ZERO, _BROADCAST}:
        raise ChipListError(
            f"{chip_id} is no chip's MAC address: it was not read, or its fuses are not burned"
        )
    if bytes.fromhex(digits)[0] & _MULTICAST_BIT:
        raise ChipListError(f"{chip_id} is a multicast address: no chip has one")
    if not _MAC.fullmatch(chip_id):
        raise ChipListError(f"{chip_id} is a MAC address in another spelling: write {MAC_FORM}")


def _check_first(chip_ids: list[str]) -> None:
    """A header in words that nobody foresaw: the only line without a digit, before others that have one."""
    first, *others = chip_ids
    if _LIKE_A_MAC.fullmatch(first):
        return
    if _has_digit(first):
        _check_numbered(first, others)
        return
    if others and all(map(_has_digit, others)):
        raise ChipListError(
            f"its first line, {first}, looks like a header: it alone has no digit. Remove it; if it is a"
            " chip, move it below another line"
        )


def _check_numbered(first: str, others: list[str]) -> None:
    """A header such as ESP32_MAC: the name of a column but for its digits, which count nothing."""
    if first[-1].isdigit() or re.sub(r"[._:0-9-]", "", first).lower() not in _HEADERS:
        return
    stem = first.lower()[:3]
    if others and not any(other.lower().startswith(stem) for other in others):
        raise ChipListError(
            f"its first line, {first}, looks like a header. Remove it; if it is a chip, move it below another"
            " line"
        )


def _has_digit(text: str) -> bool:
    return any("0" <= character <= "9" for character in text)
