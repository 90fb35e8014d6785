"""Is an entry the one encoding of its JSON (RFC 8785)? Proven for each one; most by a short way.

    canonical_object(b'{"a":1}')      # {"a": 1}, or CheckFailed

The short way encodes the value again with the standard library's encoder, keys sorted. For ASCII text whose
numbers are integers within 2^53 it gives what RFC 8785 gives: keys sort by their code points (3.2.3), and
strings are escaped alike (3.2.2.2). Whatever is not so, or comes out otherwise, is judged by `rfc8785`.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import rfc8785

from auditor.core.codes import Code
from auditor.errors import CheckFailed

_MAX_DIGITS = 15  # of an integer that is surely within 2^53


class _NotPlain(Exception):  # noqa: N818 (a turn to the long way)
    """A value that the short way does not judge."""


def _refuse(_text: str) -> NoReturn:
    raise _NotPlain


def _small(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _NotPlain
    return int(text)


_DECODER = json.JSONDecoder(parse_float=_refuse, parse_int=_small, parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))


def canonical_object(data: bytes) -> dict[str, Any]:
    """The object that these bytes are the canonical form of.

    Raises:
        CheckFailed: ENTRY_NOT_CANONICAL.
    """
    if data.isascii():
        try:
            text = data.decode("ascii")
            value = _DECODER.decode(text)
            if isinstance(value, dict) and _ENCODER.encode(value) == text:
                return value
        except (_NotPlain, ValueError, RecursionError):
            pass  # the long way says what is off, in the same words for all
    return _the_long_way(data)


def _the_long_way(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"))
        canonical = isinstance(value, dict) and rfc8785.dumps(value) == data
    except (ValueError, RecursionError) as error:
        # Covers JSONDecodeError, UnicodeError and rfc8785's own errors, which derive from ValueError.
        raise CheckFailed(
            Code.ENTRY_NOT_CANONICAL, "the entry is not JSON that RFC 8785 can encode"
        ) from error
    if not canonical:
        raise CheckFailed(Code.ENTRY_NOT_CANONICAL, "the entry is not a JSON object in its canonical form")
    return dict(value)
