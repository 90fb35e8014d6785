"""Three programs read TOML as editors save it, each by a module of its own: the modules are the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agent.core.toml_text
import auditor.core.toml_text
import signerd.core.toml_text

READERS = (agent.core.toml_text.read_toml, auditor.core.toml_text.read_toml, signerd.core.toml_text.read_toml)
TEXT = 'name = "Prüfling"\n[a]\nb = 1\n'
MARK = b"\xef\xbb\xbf"


@pytest.fixture(params=READERS, ids=["agent", "auditor", "signerd"])
def read(request: pytest.FixtureRequest) -> Callable[[bytes], dict[str, Any]]:
    reader: Callable[[bytes], dict[str, Any]] = request.param
    return reader


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_utf8_is_read(read: Callable[[bytes], dict[str, Any]], mark: bytes, ends: str) -> None:
    assert read(mark + TEXT.replace("\n", ends).encode()) == {"name": "Prüfling", "a": {"b": 1}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode("utf-16"), "it is UTF-16: save the file as UTF-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "it is UTF-16: save the file as UTF-8"),
        (
            TEXT.encode("utf-16-le"),
            "line 1 has a NUL byte",
        ),
        (b"a = 1\nb\0 = 2\n", "line 2 has a NUL byte"),
        (
            b"a = 1\n" + TEXT.encode("latin-1"),
            "line 2 has a byte that is not UTF-8 (0xfc): save the",
        ),
        (MARK + MARK + TEXT.encode(), "Invalid statement (at line 1, column 1)"),
        (b"a = " + b"[" * 100_000, ""),
        (b"a = " + b"9" * 10_000, ""),
        (b"a = \r1", ""),
    ],
)
def test_anything_else_is_an_error_of_its_own(
    read: Callable[[bytes], dict[str, Any]], data: bytes, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said) or ".") as caught:
        read(data)
    assert type(caught.value).__name__ == "TomlError"


def test_the_modules_are_one_text() -> None:
    modules = (agent.core.toml_text, auditor.core.toml_text, signerd.core.toml_text)
    assert len({Path(str(module.__file__)).read_bytes() for module in modules}) == 1
