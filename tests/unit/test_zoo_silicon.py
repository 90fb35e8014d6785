"""Each item of the silicon zoo gets its verdict, from signerd and from the auditor alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import zoo
from harness.both_sides import NOW, both
from signerd.core.explain import explain
from signerd.core.product import parse_product

ITEMS = {str(item): item for item in zoo.silicon()}
EVIDENCE_PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
README = zoo.FOLDER / "README.md"


@pytest.mark.parametrize("name", ITEMS)
def test_each_item_gets_its_verdict(name: str) -> None:
    item = ITEMS[name]
    case = item.case()
    signerd, auditor = both(case)
    assert signerd == auditor, f"{signerd.words!r} and {auditor.words!r}: {case.report()}"
    if item.accepted and not item.level:  # genuine: all holds but what only the chip can sign
        assert (signerd.accepted, signerd.reason) == (False, item.reason or "signature"), signerd.words
    else:
        assert (signerd.accepted, signerd.level) == (item.accepted, item.level), signerd.words
        assert signerd.reason == item.reason, signerd.words


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if item.method in {"x509", "tpm2"}])
def test_signerd_explain_comes_to_the_same_verdict(name: str) -> None:
    """Of certificates alone: what is over a session, and a TPM's own statements, it cannot know."""
    item = ITEMS[name]
    certificates, _, _ = item.path()
    explanation = explain(b"".join(certificates), parse_product(item.case().product), NOW)
    of_the_session = {"tpm", "session", "signature"}
    if item.accepted or item.reason in of_the_session:
        (verdict,) = explanation.methods
        assert explanation.accepted, verdict.reason
        assert verdict.chip_id == item.chip_id
    elif item.name != "under-another-name":  # which is a chip's, and not this session's
        assert not explanation.accepted
        assert all(verdict.remedy for verdict in explanation.methods)


def table(heading: str) -> list[str]:
    """The families of a table of the page, in bold in its first column."""
    _, _, rest = EVIDENCE_PAGE.read_text("utf-8").partition(f"\n## {heading}\n")
    return re.findall(r"^\| \*\*(.+?)\*\* \|", rest.partition("\n## ")[0], re.MULTILINE)


def test_a_family_counts_as_supported_only_while_an_item_of_it_is_accepted() -> None:
    """The page's two tables and the zoo's families are the same."""
    accepted, others = set[str](), set[str]()
    for family, items in zoo.named_in_the_table().items():
        (accepted if any(item.accepted for item in items) else others).add(family)
    assert set(table("Silicon")) == accepted
    assert set(table("Silicon that is not accepted yet")) == others


def test_each_file_has_an_item_and_each_folder_its_source() -> None:
    text = README.read_text("utf-8")
    named = {name for line in re.findall(r"^## (.+)$", text, re.MULTILINE) for name in line.split(", ")}
    assert set(zoo.families()) <= named
    for folder in {item.folder for item in ITEMS.values()}:
        files = {path.name for path in (zoo.FOLDER / folder).iterdir()} - {"items.toml"}
        described = (zoo.FOLDER / folder / "items.toml").read_text("utf-8")
        assert all(f'"{name}"' in described for name in files)


def test_no_private_key_is_in_the_zoo() -> None:
    for path in zoo.FOLDER.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes()
