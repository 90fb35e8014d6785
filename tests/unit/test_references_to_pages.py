"""Code, units and pages refer to parts of pages, as docs/operations.md, "Exit codes": each one is there."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PLACES = ("agent", "auditor", "signerd", "birthmark", "proto", "deploy", "docs", "tests")
KINDS = {".py", ".md", ".toml", ".proto", ".service", ".sh", ".nft", ".cnf"}
REFERENCE = re.compile(r'docs/([a-z-]+\.md), "([^"{}]{3,60})"')
LINK = re.compile(r'\[([a-z-]+\.md)\]\([^)]*\), "([^"]{3,60})"')
CONTINUED = re.compile(r'"?\n\s*(?:#|//|;|f?["\'])?\s*')  # comments and texts that go on in the next line


def parts(page: Path) -> set[str]:
    text = page.read_text("utf-8")
    return {
        found.strip()
        for found in re.findall(r"^#+ (.+)$|^\*\*(.+?)\*\*", text, re.MULTILINE)
        for found in found
    }


def files() -> list[Path]:
    return [
        path
        for place in PLACES
        for path in (REPOSITORY / place).rglob("*")
        if path.suffix in KINDS and path.is_file()
    ]


def test_each_part_that_is_referred_to_is_there() -> None:
    known = {page.name: parts(page) for page in (REPOSITORY / "docs").glob("*.md")}
    seen, missing = 0, []
    for path in files():
        text = CONTINUED.sub(" ", path.read_text("utf-8"))
        for page, part in [*REFERENCE.findall(text), *LINK.findall(text)]:
            seen += 1
            if part.rstrip(".,") not in known.get(page, set()):
                missing.append(f"{path.relative_to(REPOSITORY)}: {page}, {part!r}")
    assert not missing
    assert seen > 50
