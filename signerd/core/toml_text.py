"""TOML as people's editors save it: UTF-8, with a byte order mark or without, lines ended by LF or CRLF.

    read_toml(b"\\xef\\xbb\\xbfname = 'x'\\r\\n") == {"name": "x"}

Other encodings are refused by a text that says how to save the file: their letters cannot be told apart.
"""

from __future__ import annotations

import tomllib
from typing import Any

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SAVE = "save the file as UTF-8"


class TomlError(ValueError):
    """The bytes are no TOML; the text says where, and what to do."""


def read_toml(data: bytes) -> dict[str, Any]:
    """What a TOML file says. Raises TomlError, whatever the bytes."""
    text = _text(data)
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # beside its own: numbers and nestings beyond Python's bounds
        raise TomlError(str(error)) from error


def _text(data: bytes) -> str:
    if data.startswith(_UTF16_MARKS):
        raise TomlError(f"it is UTF-16: {_SAVE}")
    data = data.removeprefix(_UTF8_MARK)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise TomlError(f"line {line} has a NUL byte, so it is UTF-16 or damaged: {_SAVE}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TomlError(
            f"line {line} has a byte that is not UTF-8 (0x{data[error.start]:02x}): {_SAVE}"
        ) from error
