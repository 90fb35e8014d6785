"""The little DER (X.690) that signed structures need beside the cryptography package.

A signed structure of X.509 and PKCS#10 is `SEQUENCE { to-be-signed, AlgorithmIdentifier, BIT STRING }`.
"""

from __future__ import annotations

_SEQUENCE = 0x30
_BIT_STRING = 0x03
_LONG_TAG = 0x1F  # X.690 §8.1.2.4: the tag's number follows in further bytes
_MAX_LENGTH_OCTETS = 3  # 16 MiB; every caller bounds its input far below


class DerError(ValueError):
    """The bytes are not the DER structure that was asked for."""


def _header(tag: int, length: int) -> bytes:
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of elements that are DER already."""
    content = b"".join(elements)
    return _header(_SEQUENCE, len(content)) + content


def signed(to_be_signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Wraps the three parts of a signed structure; `signature` is the BIT STRING's content, whole octets."""
    bits = b"\x00" + signature
    return sequence(to_be_signed, algorithm, _header(_BIT_STRING, len(bits)) + bits)


def _element(data: bytes, start: int, tag: int) -> int:
    """The offset after the element of this tag that begins at `start`."""
    if len(data) < start + 2 or data[start] != tag:
        raise DerError("an element is missing or of another kind")
    length = data[start + 1]
    body = start + 2
    if length >= 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[body : body + octets], "big")
        if not 1 <= octets <= _MAX_LENGTH_OCTETS or _header(tag, length) != data[start : body + octets]:
            raise DerError("a length is not in its shortest form")
        body += octets
    if body + length > len(data):
        raise DerError("an element is cut")
    return body + length


def _content(data: bytes, start: int) -> int:
    """The offset of the content of the element that begins at `start`, which `_element` has checked."""
    length = data[start + 1]
    return start + 2 + (length & 0x7F if length >= 0x80 else 0)


def split_signed(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Takes a signed structure apart: (to-be-signed, AlgorithmIdentifier, BIT STRING element), DER each.

    Raises:
        DerError: not such a structure, or bytes follow it.
    """
    if _element(data, 0, _SEQUENCE) != len(data):
        raise DerError("bytes follow the structure")
    first = _content(data, 0)
    second = _element(data, first, _SEQUENCE)
    third = _element(data, second, _SEQUENCE)
    if _element(data, third, _BIT_STRING) != len(data):
        raise DerError("bytes follow the signature")
    content = _content(data, third)
    if data[content : content + 1] != b"\x00":
        raise DerError("the signature is not of whole octets")
    return data[first:second], data[second:third], data[third:]


def content(data: bytes, tag: int) -> bytes:
    """The content of the one element of this tag that fills `data`.

    Raises:
        DerError: another element, or bytes follow it.
    """
    if _element(data, 0, tag) != len(data):
        raise DerError("bytes follow the element")
    return data[_content(data, 0) :]


def elements(data: bytes) -> list[bytes]:
    """Elements that follow one another and fill `data`, as in a SEQUENCE's content; tags of one byte.

    Raises:
        DerError: not such elements.
    """
    found = []
    start = 0
    while start < len(data):
        end = _element(data, start, data[start])
        if data[start] & _LONG_TAG == _LONG_TAG:
            raise DerError("a tag of more than one byte")
        found.append(data[start:end])
        start = end
    return found


def element(tag: int, content: bytes) -> bytes:
    """One element of this tag."""
    return _header(tag, len(content)) + content
