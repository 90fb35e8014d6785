"""What can be measured of plain English: short cells, few semicolons, few clauses with "what" and "whoever".
Code is left out. Split the sentence that fails, or put the exceptions of a long cell below its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CELL_WORDS = 40
SEMICOLONS = 0.6  # per 1,000 words of all pages
CLAUSES = 2.0  # per 1,000 words of all pages
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=:\n))(?: {4,}\S.*\n)+")
_CODE = re.compile(r"`[^`\n]*`")
_CLAUSE = re.compile(r"\b(?:what|whatever|whoever)\b", re.IGNORECASE)
_SKIPPED = {".venv", "var", "build", "dist", "LICENSES", "vectors", "node_modules"}
PAGES = sorted(
    page
    for page in REPOSITORY.rglob("*.md")
    if page.name != "CHANGELOG.md"
    and not any(part in _SKIPPED or part.startswith(".") for part in page.relative_to(REPOSITORY).parts)
)


def prose(page: Path) -> str:
    """The page without its code; a word of code counts as one."""
    text = _INDENTED.sub("\n", _FENCED.sub("\n", page.read_text("utf-8")))
    return _CODE.sub("code", text)


def cells(page: Path) -> list[str]:
    text = _FENCED.sub("\n", page.read_text("utf-8"))
    rows = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    return [cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)]


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


def test_semicolons_are_rare() -> None:
    counted = {page.name: prose(page).count(";") for page in PAGES}
    assert per_thousand(sum(counted.values()), WORDS) <= SEMICOLONS, counted


def test_clauses_with_what_are_rare() -> None:
    counted = {page.name: len(_CLAUSE.findall(prose(page))) for page in PAGES}
    assert per_thousand(sum(counted.values()), WORDS) <= CLAUSES, counted
