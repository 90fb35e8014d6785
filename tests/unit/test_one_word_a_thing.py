"""One word a thing: pages and help texts use the terms of docs/glossary.md, and none that it avoids."""

from __future__ import annotations

import re

import pytest

from harness.commands import EVERY
from harness.pages import PAGES, REPOSITORY, prose

GLOSSARY = REPOSITORY / "docs" / "glossary.md"
TEXT = GLOSSARY.read_text("utf-8")
TERMS, _, AVOIDED = TEXT.partition("\n## Words that are avoided\n")
ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)
TERM = re.compile(r"\*\*(?:[Tt]o )?(.+?)\*\*")
# Where the word means something else: another program's file, a certificate above a sub-CA in an attack.
ELSEWHERE = {
    "config file": set(),
    "configuration file": {"deploy/hsm/softhsm.md", "deploy/hsm/yubico.md"},
    "intermediate": {"docs/threat-model.md", "docs/operations.md"},
}


def avoided() -> list[str]:
    rows = [row for row in ROW.findall(AVOIDED) if row[0] not in {"not", "---"}]
    return [word for row in rows for word in row[0].split(", ")]


def found(word: str, text: str) -> bool:
    """As a word of its own, in the singular or plural, however many blanks are between its parts."""
    parts = r"\s+".join(map(re.escape, word.split()))
    flags = 0 if word != word.lower() or word == "efuse" else re.IGNORECASE
    return re.search(rf"(?<![\w/.-]){parts}s?(?![\w/-])", text, flags) is not None


def pages_with(word: str) -> list[str]:
    pages = [page for page in PAGES if page != GLOSSARY]
    names = [str(page.relative_to(REPOSITORY)) for page in pages if found(word, prose(page))]
    return [name for name in names if name not in ELSEWHERE.get(word, set())]


def test_each_term_stands_once() -> None:
    terms = [term.lower() for row in ROW.findall(TERMS) for term in TERM.findall(" ".join(row))]
    assert len(terms) > 60
    assert sorted({term for term in terms if terms.count(term) > 1}) == []


def test_what_is_avoided_is_no_term() -> None:
    terms = {term.lower() for row in ROW.findall(TERMS) for term in TERM.findall(" ".join(row))}
    assert len(avoided()) > 20
    assert terms.isdisjoint(avoided())


@pytest.mark.parametrize("word", avoided())
def test_pages_avoid_it(word: str) -> None:
    assert pages_with(word) == []


@pytest.mark.parametrize("word", avoided())
def test_help_texts_avoid_it(word: str) -> None:
    said = {
        name: [command.help or "", *((getattr(each, "help", None) or "") for each in command.params)]
        for name, command in EVERY.items()
    }
    assert [name for name, texts in said.items() if any(found(word, text) for text in texts)] == []


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("a needle bed", True),
        ("two needle\nbeds.", True),
        ("the kneedle bed", False),
        ("a needle-bed", False),
    ],
)
def test_a_word_is_found(text: str, *, there: bool) -> None:
    assert found("needle bed", text) is there


@pytest.mark.parametrize("name", [page.name for page in (REPOSITORY / "docs").glob("*.md")])
def test_the_readme_leads_to_each_page(name: str) -> None:
    assert f"(docs/{name})" in (REPOSITORY / "README.md").read_text("utf-8")
