"""The silicon zoo: one folder a family in `tests/vectors/silicon/`, with a verdict for each item."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "vectors" / "silicon"


def families() -> list[str]:
    """All folders of the zoo."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def items(family: str) -> dict[str, dict[str, Any]]:
    """The items of a family, by name."""
    file = tomllib.loads((FOLDER / family / "items.toml").read_text())
    return {Path(item["file"]).stem: item for item in file["item"]}


def content(family: str, item: dict[str, Any]) -> bytes:
    """The bytes of an item's file."""
    name: str = item["file"]
    return (FOLDER / family / name).read_bytes()
