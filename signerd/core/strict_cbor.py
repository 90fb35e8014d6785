"""Deterministic CBOR (RFC 8949 §4.2.1), read strictly: what is accepted has exactly one encoding.

Allowed are integers of 64 bits, byte and text strings, booleans, null, arrays, and maps with text keys.
No tags, floats, indefinite lengths or duplicate keys.
"""

from __future__ import annotations

from typing import Any

import cbor2

# What an item may be, beside list and dict.
_SCALARS = (int, bytes, str, bool, type(None))


class CborError(ValueError):
    """The bytes are not deterministic CBOR of the allowed kind."""


def _refuse(_decoder: Any, _immutable: bool) -> Any:  # noqa: FBT001 (the library's callback)
    raise CborError("a tag")


# Shared values and string references: a few bytes would stand for a structure without end. Other tags are
# refused by the type that they decode to.
_REFUSED_TAGS = dict.fromkeys((25, 28, 29, 256), _refuse)


def encode(item: Any) -> bytes:
    """The one deterministic encoding of the item.

    For text keys the length-first order of RFC 7049 that cbor2 calls canonical and the bytewise order of
    RFC 8949 are the same.
    """
    _check(item)
    return cbor2.dumps(item, canonical=True)


def decode(data: bytes, *, max_bytes: int, max_depth: int = 4) -> Any:
    """Decodes one item that fills `data`.

    Args:
        data: the bytes.
        max_bytes: bound on their number.
        max_depth: bound on nested arrays and maps.

    Raises:
        CborError: anything else than the one deterministic encoding of an allowed item.
    """
    if not 0 < len(data) <= max_bytes:
        raise CborError(f"{len(data)} bytes, allowed are 1 to {max_bytes}")
    try:
        item = cbor2.loads(
            data,
            max_depth=max_depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_REFUSED_TAGS,
        )
    except (cbor2.CBORError, ValueError, OverflowError, TypeError) as error:
        raise CborError(f"not CBOR of the allowed kind: {error}") from error
    if encode(item) != data:
        raise CborError("not the deterministic encoding, or bytes follow it")
    return item


def _check(item: Any) -> None:
    if isinstance(item, dict):
        for key, value in item.items():
            if type(key) is not str:
                raise CborError("a map key is not text")
            _check(value)
    elif isinstance(item, list):
        for value in item:
            _check(value)
    elif type(item) not in _SCALARS:
        raise CborError(f"{type(item).__name__} is not allowed")
    elif type(item) is int and not -(2**64) <= item < 2**64:
        raise CborError("integer beyond 64 bits")
