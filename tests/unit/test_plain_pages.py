"""What can be measured of plain English: short sentences, cells and lines, few semicolons, few clauses with
"what" and "whoever". Code is left out. Split the sentence that fails, or put the exceptions of a long cell
below its table.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.pages import PAGES, REPOSITORY, cells, prose, sentences, without_code_blocks

CELL_WORDS = 40
SENTENCE_WORDS = 42
LINE = 120  # characters
SEMICOLONS = 0.4  # per 1,000 words of all pages
CLAUSES = 1.95  # per 1,000 words of all pages
_CLAUSE = re.compile(r"\b(?:what|whatever|whoever)\b", re.IGNORECASE)


def per_thousand(found: int, words: int) -> float:
    return 1000 * found / words


WORDS = sum(len(prose(page).split()) for page in PAGES)


def test_the_pages_were_found() -> None:
    names = {str(page.relative_to(REPOSITORY)) for page in PAGES}
    assert {
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/stations.md",
        "deploy/hsm/README.md",
    } <= names
    assert WORDS > 50_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_cells_are_short(page: Path) -> None:
    assert [cell for cell in cells(page) if len(cell.split()) >= CELL_WORDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_sentences_are_short(page: Path) -> None:
    assert [text for text in sentences(page) if len(text.split()) > SENTENCE_WORDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_lines_are_short(page: Path) -> None:
    lines = [
        line for line in without_code_blocks(page).splitlines() if not line.lstrip().startswith(("|", "#"))
    ]
    assert [line for line in lines if len(line) > LINE] == []


def test_semicolons_are_rare() -> None:
    counted = {page.name: prose(page).count(";") for page in PAGES}
    assert per_thousand(sum(counted.values()), WORDS) <= SEMICOLONS, counted


def test_clauses_with_what_are_rare() -> None:
    counted = {page.name: len(_CLAUSE.findall(prose(page))) for page in PAGES}
    assert per_thousand(sum(counted.values()), WORDS) <= CLAUSES, counted
