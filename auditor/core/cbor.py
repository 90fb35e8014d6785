"""Deterministic CBOR, RFC 8949 §4.2.1, strictly read, in the subset of docs/formats.md: unsigned and
negative integers, text, byte strings, arrays, maps, booleans and null."""

from __future__ import annotations

from typing import Any

import cbor2

from auditor.errors import Malformed

MAX_DEPTH = 8
_INTEGERS = range(-(2**64), 2**64)


def _refuse(_decoder: Any, _immutable: bool) -> Any:  # noqa: FBT001 (the library's callback)
    raise ValueError("a tag")


# Shared values and string references: a few bytes would stand for a structure without end. Other tags are
# refused by the type that they decode to.
_REFUSED_TAGS = dict.fromkeys((25, 28, 29, 256), _refuse)


def decode(data: bytes, *, maximum: int) -> Any:
    """Decodes one item that fills `data`, at most `maximum` bytes. Raises Malformed."""
    if len(data) > maximum:
        raise Malformed(f"CBOR of {len(data)} bytes, allowed are {maximum}")
    try:
        value = cbor2.loads(data, max_depth=MAX_DEPTH, semantic_decoders=_REFUSED_TAGS)
        _check(value, MAX_DEPTH)
        # Text keys alone: for these RFC 7049's canonical order, which cbor2 uses, is RFC 8949's.
        canonical = cbor2.dumps(value, canonical=True) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise Malformed("not CBOR of the subset used here") from error
    if not canonical:
        raise Malformed("the CBOR is not deterministic, or bytes follow it")
    return value


def encode(value: Any) -> bytes:
    """Encodes a value that `decode` gave, or a part of one."""
    return cbor2.dumps(value, canonical=True)


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise Malformed("CBOR is nested too deep")
    kind = type(value)
    if kind is list:
        for item in value:
            _check(item, depth - 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Malformed("a map has a key that is not text")
            _check(item, depth - 1)
    elif kind is int:
        if value not in _INTEGERS:
            raise Malformed("an integer needs more than 64 bits")
    elif kind not in {str, bytes, bool, type(None)}:
        raise Malformed("CBOR of a kind that is not used here")
