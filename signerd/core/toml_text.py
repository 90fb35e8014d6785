"""TOML as people's editors save it: UTF-8, with a byte order mark or without, lines ended by LF or CRLF.

    read_toml(b"\\xef\\xbb\\xbfname = 'x'\\r\\n") == {"name": "x"}

Other encodings are refused by a text that says how to save the file: their letters cannot be told apart.
agent, auditor and signerd each have this module, and a test holds the three equal.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SAVE = "save the file as UTF-8"
_MEND = "mend that line"

_PLACED = re.compile(r"(?P<said>.*) \(at (?P<place>line \d+, column \d+|end of document)\)", re.DOTALL)
_BACKSLASH = "a backslash in double quotes: write paths in single quotes"
# The library's words, where they leave a person guessing.
_WORDS = (
    (re.compile(r"Cannot overwrite a value"), "this key is given twice"),
    (re.compile(r"Cannot (declare|mutate|redefine) .*"), "this table is given twice"),
    (re.compile(r"Duplicate inline table key .*"), "this key is given twice"),
    (re.compile(r"Unescaped '\\' in a string|Invalid hex value|Escaped character .*"), _BACKSLASH),
    (re.compile(r"Invalid value"), "this is no TOML value: put texts in quotes"),
    (re.compile(r"Unterminated string"), "the text's closing quote is missing"),
)


class TomlError(ValueError):
    """The bytes are no TOML. `what` says where and why, `remedy` what to do; the text has both."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy

    @property
    def mend(self) -> str:
        """The remedy as a sentence."""
        return f"{self.remedy[:1].upper()}{self.remedy[1:]}."


def read_toml(data: bytes) -> dict[str, Any]:
    """What a TOML file says. Raises TomlError, whatever the bytes."""
    return parse_toml(utf8_text(data))


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML says that is text already. Raises TomlError, whatever the text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _told(str(error)) from error
    except RecursionError as error:
        raise TomlError("its brackets nest too deeply", "take some away") from error
    except ValueError as error:  # beyond Python's bound on digits
        raise TomlError("a number in it has too many digits", "shorten it") from error


def _told(said: str) -> TomlError:
    placed = _PLACED.fullmatch(said)
    what, place = (said, "it") if placed is None else (placed["said"], placed["place"])
    words = next((words for pattern, words in _WORDS if pattern.fullmatch(what)), what[:1].lower() + what[1:])
    return TomlError(f"{place.replace('end of document', 'its end')} is not TOML: {words}", _MEND)


def without_mark(data: bytes) -> bytes:
    """A file of text, be it TOML, PEM or a key, without the byte order mark that an editor put before it.

    Raises:
        TomlError: it is UTF-16.
    """
    if data.startswith(_UTF16_MARKS):
        raise TomlError("it is UTF-16", _SAVE)
    return data.removeprefix(_UTF8_MARK)


def utf8_text(data: bytes) -> str:
    """The text of a file, without a byte order mark. Raises TomlError: it is no UTF-8."""
    data = without_mark(data)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise TomlError(f"line {line} has a NUL byte, so it is UTF-16 or no text at all", _SAVE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TomlError(
            f"line {line} has a byte that is not UTF-8 (0x{data[error.start]:02x})", _SAVE
        ) from error
