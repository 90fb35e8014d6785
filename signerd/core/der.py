"""The little DER (X.690) that signed structures need beside the cryptography package.

A signed structure of X.509 and PKCS#10 is `SEQUENCE { to-be-signed, AlgorithmIdentifier, BIT STRING }`.
"""

from __future__ import annotations

SEQUENCE, SET = 0x30, 0x31
INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER, UTF8_STRING = 0x02, 0x03, 0x04, 0x06, 0x0C
_LONG_TAG = 0x1F  # X.690 §8.1.2.4: the tag's number follows in further bytes
_MAX_LENGTH_OCTETS = 3  # 16 MiB; every caller bounds its input far below


class DerError(ValueError):
    """The bytes are not the DER structure that was asked for."""


def _header(tag: int, length: int) -> bytes:
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def element(tag: int, content: bytes) -> bytes:
    """One element of this tag."""
    return _header(tag, len(content)) + content


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of elements that are DER already."""
    return element(SEQUENCE, b"".join(elements))


def signed(to_be_signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Wraps the three parts of a signed structure; `signature` is the BIT STRING's content, whole octets."""
    return sequence(to_be_signed, algorithm, element(BIT_STRING, b"\x00" + signature))


def _bounds(data: bytes, start: int, tag: int) -> tuple[int, int]:
    """Where the content of the element of this tag that begins at `start` begins, and where it ends."""
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
    return body, body + length


def content(data: bytes, tag: int) -> bytes:
    """The content of the one element of this tag that fills `data`.

    Raises:
        DerError: another element, or bytes follow it.
    """
    body, end = _bounds(data, 0, tag)
    if end != len(data):
        raise DerError("bytes follow the element")
    return data[body:]


def elements(data: bytes) -> list[bytes]:
    """Elements that follow one another and fill `data`, as in a SEQUENCE's content; tags of one byte.

    Raises:
        DerError: not such elements.
    """
    found = []
    start = 0
    while start < len(data):
        _, end = _bounds(data, start, data[start])
        if data[start] & _LONG_TAG == _LONG_TAG:
            raise DerError("a tag of more than one byte")
        found.append(data[start:end])
        start = end
    return found


def split_signed(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Takes a signed structure apart: (to-be-signed, AlgorithmIdentifier, BIT STRING element), DER each.

    Raises:
        DerError: not such a structure, or bytes follow it.
    """
    parts = elements(content(data, SEQUENCE))
    if [part[0] for part in parts] != [SEQUENCE, SEQUENCE, BIT_STRING]:
        raise DerError("not what is signed, its algorithm and its signature")
    to_be_signed, algorithm, signature = parts
    if not content(signature, BIT_STRING).startswith(b"\x00"):
        raise DerError("the signature is not of whole octets")
    return to_be_signed, algorithm, signature
