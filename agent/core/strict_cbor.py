"""Deterministic CBOR (RFC 8949 §4.2.1) as the station reads it: what is accepted has one encoding.

Allowed are integers of 64 bits, byte and text strings, booleans, null, arrays, and maps with text keys.
"""

from __future__ import annotations

from typing import Any

import cbor2

_SCALARS = (int, bytes, str, bool, type(None))


class CborError(ValueError):
    """The bytes are not deterministic CBOR of the allowed kind."""


def _refuse(_decoder: Any, _immutable: bool) -> Any:  # noqa: FBT001 (the library's callback)
    raise CborError("a tag")


# Shared values and string references: a few bytes would stand for a structure without end. Other tags are
# refused by the type that they decode to.
_REFUSED_TAGS = dict.fromkeys((25, 28, 29, 256), _refuse)


def encode(item: Any) -> bytes:
    """The one encoding of an item of allowed kinds."""
    if not _allowed(item):
        raise CborError("an item of a kind that is not allowed")
    return cbor2.dumps(item, canonical=True)


def decode(data: bytes, *, max_bytes: int, max_depth: int = 4) -> Any:
    """Decodes one item that fills `data`, nested at most `max_depth` deep.

    Raises:
        CborError: for any other bytes.
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
        raise CborError("not CBOR of the allowed kind") from error
    if encode(item) != data:
        raise CborError("not the deterministic encoding, or bytes follow it")
    return item


def _allowed(item: Any) -> bool:
    if isinstance(item, dict):
        return all(type(key) is str and _allowed(value) for key, value in item.items())
    if isinstance(item, list):
        return all(_allowed(value) for value in item)
    if type(item) is int:
        return -(2**64) <= item < 2**64
    return type(item) in _SCALARS
