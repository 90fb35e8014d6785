"""No line of a log is written with a field that is masked in it: whoever reads it would learn nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from signerd.adapters.logs import SECRET_NAMES

REPOSITORY = Path(__file__).parents[3]


def fields(source: str) -> Iterator[str]:
    """Of each line that is logged."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_log")), keywords=keywords):
                yield from (each.arg for each in keywords if each.arg is not None)


def test_what_is_logged_can_be_read() -> None:
    named = {
        path.relative_to(REPOSITORY): set(fields(path.read_text("utf-8"))) & SECRET_NAMES
        for path in (REPOSITORY / "signerd").rglob("*.py")
    }
    assert {path: masked for path, masked in named.items() if masked} == {}


def test_a_masked_field_is_found() -> None:
    assert set(fields('_log.info("key_holder", key=name, serving=True)')) & SECRET_NAMES == {"key"}
