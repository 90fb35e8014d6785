"""The pages of the project, and the prose in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=:\n))(?: {4,}\S.*\n)+")
_CODE = re.compile(r"`[^`\n]*`")
_PARTS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)")  # paragraphs, items of a list
_ENDS = re.compile(r"(?<=[.!?:])\**\s+")
_SKIPPED = {".venv", "var", "build", "dist", "LICENSES", "vectors", "node_modules"}
PAGES = sorted(
    page
    for page in REPOSITORY.rglob("*.md")
    if page.name != "CHANGELOG.md"
    and not any(part in _SKIPPED or part.startswith(".") for part in page.relative_to(REPOSITORY).parts)
)


def without_code_blocks(page: Path) -> str:
    """The page without what stands in blocks of code."""
    return _INDENTED.sub("\n", _FENCED.sub("\n", page.read_text("utf-8")))


def prose(page: Path) -> str:
    """The page without its code; a word of code counts as one."""
    return _CODE.sub("code", without_code_blocks(page))


def sentences(page: Path) -> Iterator[str]:
    """The sentences of the page's paragraphs and items. What a colon announces is one of its own."""
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith(("|", "#"))]
    for part in _PARTS.split("\n".join(lines)):
        yield from _ENDS.split(" ".join(part.split()))


def cells(page: Path) -> list[str]:
    """The cells of the page's tables."""
    text = _FENCED.sub("\n", page.read_text("utf-8"))
    rows = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    return [cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)]
