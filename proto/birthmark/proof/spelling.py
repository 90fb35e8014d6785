"""Numbers and bytes in text: each value has one spelling, and every other one is refused."""

from __future__ import annotations

import base64
import binascii
import re

from birthmark.proof.errors import malformed

MAX_NUMBER = 2**63 - 1  # of sizes, indexes and times
HASH_SIZE = 32  # bytes, SHA-256
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_decimal(text: str) -> int:
    """A number of ASCII digits without sign, space or leading zero, below 2^63. Raises ProofError."""
    if _DECIMAL.fullmatch(text) is None or int(text) > MAX_NUMBER:
        raise malformed("not a decimal number below 2^63 in its one spelling")
    return int(text)


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding (RFC 4648 §4). Raises ProofError, also on unused bits that are set."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("not base64") from error
    if encode_base64(value) != text:
        raise malformed("base64 in another spelling than its one")
    return value


def decode_hash(text: str) -> bytes:
    """32 bytes of base64. Raises ProofError."""
    value = decode_base64(text)
    if len(value) != HASH_SIZE:
        raise malformed("a hash that is not of 32 bytes")
    return value


def encode_base64(value: bytes) -> str:
    """The one spelling."""
    return base64.b64encode(value).decode("ascii")
