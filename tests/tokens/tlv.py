"""BER-TLV of smart cards (ISO/IEC 7816-4, section 5.2.2): tags of one or two bytes, lengths to 65,535."""

from __future__ import annotations


class TlvError(ValueError):
    """The bytes are no sequence of data objects."""


def encode(tag: int, value: bytes) -> bytes:
    """One data object; `tag` as it is written, 0x5F2F for a tag of two bytes."""
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    size = len(value)
    if size < 0x80:
        return head + bytes([size]) + value
    if size < 0x100:
        return head + b"\x81" + bytes([size]) + value
    return head + b"\x82" + size.to_bytes(2, "big") + value


def decode(data: bytes) -> dict[int, bytes]:
    """The data objects that stand one after the other; tag and value of each.

    Raises:
        TlvError: one of them is cut off, or its length is written in another way.
    """
    found: dict[int, bytes] = {}
    rest = data
    while rest:
        tag, rest = _tag(rest)
        size, rest = _length(rest)
        if len(rest) < size:
            raise TlvError(f"tag {tag:#x}: {size} bytes are said, {len(rest)} are there")
        found[tag], rest = rest[:size], rest[size:]
    return found


def _tag(data: bytes) -> tuple[int, bytes]:
    width = 2 if data[0] & 0x1F == 0x1F else 1
    return int.from_bytes(data[:width], "big"), data[width:]


def _length(data: bytes) -> tuple[int, bytes]:
    if not data:
        raise TlvError("a tag without a length")
    if data[0] < 0x80:
        return data[0], data[1:]
    width = {0x81: 1, 0x82: 2}.get(data[0])
    if width is None:
        raise TlvError(f"a length that begins with {data[0]:#x}")
    return int.from_bytes(data[1 : 1 + width], "big"), data[1 + width :]
