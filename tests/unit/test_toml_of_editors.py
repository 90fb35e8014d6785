"""Three programs read TOML as editors save it, each by a module of its own: the modules are the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agent
import agent.core.toml_text
import auditor
import auditor.core.toml_text
import signerd
import signerd.core.toml_text

READERS = (agent.core.toml_text.read_toml, auditor.core.toml_text.read_toml, signerd.core.toml_text.read_toml)
TEXT = 'name = "Prüfling"\n[a]\nb = 1\n'
MARK = b"\xef\xbb\xbf"
SAVED = Path(__file__).parents[1] / "vectors" / "editors" / "agent-with-bom.toml"


@pytest.fixture(params=READERS, ids=["agent", "auditor", "signerd"])
def read(request: pytest.FixtureRequest) -> Callable[[bytes], dict[str, Any]]:
    reader: Callable[[bytes], dict[str, Any]] = request.param
    return reader


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_utf8_is_read(read: Callable[[bytes], dict[str, Any]], mark: bytes, ends: str) -> None:
    assert read(mark + TEXT.replace("\n", ends).encode()) == {"name": "Prüfling", "a": {"b": 1}}


def test_a_file_of_an_editor_is_read(read: Callable[[bytes], dict[str, Any]]) -> None:
    data = SAVED.read_bytes()
    assert data.startswith(MARK)
    found = read(data)
    assert (found["deployment"], found["signerd"]["address"]) == ("dev", "127.0.0.1:43011")


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
        (MARK + MARK + TEXT.encode(), "line 1, column 1 is not TOML: invalid statement: mend that line"),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\na = 2\n", "line 2, column 6 is not TOML: this key is given twice"),
        ("[a]\n[a]\n", "line 2, column 3 is not TOML: this table is given twice"),
        ("a = {b = 1, b = 2}\n", "line 1, column 18 is not TOML: this key is given twice"),
        (
            'a = "C:\\ProgramData"\n',
            "line 1, column 10 is not TOML: a backslash in double quotes: write paths in single quotes",
        ),
        (
            'a = "C:\\Users"\n',
            "line 1, column 10 is not TOML: a backslash in double quotes: write paths in single quotes",
        ),
        ("a = yes\n", "line 1, column 5 is not TOML: this is no TOML value: put texts in quotes"),
        ('a = "b\n', "line 1, column 7 is not TOML: illegal character '\\n'"),
        ('a = "b', "its end is not TOML: the text's closing quote is missing"),
    ],
)
def test_a_mistake_is_told_in_words_that_help(
    read: Callable[[bytes], dict[str, Any]], text: str, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read(text.encode())
    assert str(caught.value) == f"{said}: mend that line"


@pytest.mark.parametrize("name", ["toml_text", "file_problems", "plain_text"])
def test_the_modules_are_one_text(name: str) -> None:
    programs = (agent, auditor, signerd)
    files = {program: Path(str(program.__file__)).with_name("core") / f"{name}.py" for program in programs}
    texts = {
        file.read_text("utf-8").replace(f"from {program.__name__}.core.", "from ")
        for program, file in files.items()
    }
    assert len(texts) == 1
