"""The little DER (X.690) that the cryptography package does not take apart: elements with one-byte tags."""

from __future__ import annotations

from auditor.errors import Malformed

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER = 0x01, 0x02, 0x03, 0x04, 0x06
UTF8_STRING, SEQUENCE, SET = 0x0C, 0x30, 0x31
_MAX_LENGTH_SIZE = 2  # bytes of a length in its long form: 64 KiB; every input is bounded far below


def element(tag: int, content: bytes) -> bytes:
    """An element around content that is DER already."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def split(data: bytes) -> list[bytes]:
    """The elements that follow each other in `data`, as they stand. Raises Malformed."""
    found = []
    start, size = 0, len(data)
    while start < size:
        header = _header_size(data, start)
        length = data[start + 1]
        if header > 2:
            length = int.from_bytes(data[start + 2 : start + header], "big")
            # X.690 §10.1: one byte up to 127, and no zero before the number.
            if length < (0x80 if header == 3 else 0x100):
                raise Malformed("a length is not in its shortest form")
        end = start + header + length
        if end > size:
            raise Malformed("an element is cut")
        found.append(data[start:end])
        start = end
    return found


def content(data: bytes, tag: int) -> bytes:
    """The content of the one element of this tag that fills `data`. Raises Malformed."""
    match split(data):
        case [one] if one[0] == tag:
            return one[_header_size(one, 0) :]
        case _:
            raise Malformed(f"not one element of tag {tag:#x}")


def members(data: bytes, tag: int = SEQUENCE) -> list[bytes]:
    """The elements inside the one element of this tag that fills `data`. Raises Malformed."""
    return split(content(data, tag))


def _header_size(data: bytes, start: int) -> int:
    if len(data) < start + 2 or data[start] & 0x1F == 0x1F:
        raise Malformed("an element is cut, or its tag is long")
    first = data[start + 1]
    if first < 0x80:
        return 2
    if not 1 <= first & 0x7F <= _MAX_LENGTH_SIZE:
        raise Malformed("a length is indefinite or too large")
    return 2 + (first & 0x7F)
