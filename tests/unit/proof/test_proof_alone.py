"""The package stands alone: an outsider copies one folder, and installs cryptography."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import birthmark.proof
from birthmark.proof import ProofError
from birthmark.proof.receipt import Receipt

FOLDER = Path(birthmark.proof.__file__).parent


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            yield str(node.module)


def test_it_imports_cryptography_the_standard_library_and_itself() -> None:
    found = {name for file in FOLDER.glob("*.py") for name in _imported(file.read_text("utf-8"))}
    foreign = {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("birthmark.proof")} == {
        "cryptography",
        "cryptography.exceptions",
        "cryptography.hazmat.primitives",
        "cryptography.hazmat.primitives.asymmetric",
        "cryptography.hazmat.primitives.asymmetric.ed25519",
    }


def test_its_types_are_known_to_others() -> None:
    assert (FOLDER.parent / "py.typed").exists()


def test_what_it_names_is_there_and_documented() -> None:
    for name in birthmark.proof.__all__:
        assert getattr(birthmark.proof, name).__doc__, name


def _run_example(receipt: bytes, entry: bytes) -> dict[str, Any]:
    assert birthmark.proof.__doc__ is not None
    example = re.search(r"\n    from [^\n]+\n(?:    [^\n]*\n|\n)+", birthmark.proof.__doc__)
    assert example is not None
    scope: dict[str, Any] = {"receipt": receipt, "entry": entry}
    code = re.sub(r"^    ", "", example[0], flags=re.MULTILINE)
    exec(re.sub(r"\.\.\. .*", "raise", code), scope)
    return scope


def test_its_example_runs_on_the_published_log() -> None:
    page = (Path(__file__).parents[2] / "vectors" / "tlog" / "three-entries.md").read_text("utf-8")
    leaves = [bytes.fromhex(digest) for digest in re.findall(r"^leaf[02] (\w+)$", page, re.MULTILINE)]
    note = re.search(r"```\n(log\.example\.com[^`]+— [^`]+\n)```", page)
    assert note is not None
    receipt = Receipt(1, tuple(leaves), note[1].encode()).data()
    assert _run_example(receipt, b"signerd/v1 cert 1")["verified"].index == 1
    with pytest.raises(ProofError):
        _run_example(receipt, b"signerd/v1 cert 0")
