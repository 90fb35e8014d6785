"""The documentation's pictures of a report, of the verifier page and of a witness are of these programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from demo import report_pictures, witness_picture

DOCS = Path(__file__).resolve().parents[3] / "docs"
SHOWN = {*report_pictures.PICTURES, witness_picture.PICTURE}


@pytest.mark.parametrize("drawn", [report_pictures, witness_picture])
def test_pictures_are_current(drawn: ModuleType) -> None:
    noted = json.loads((DOCS / "images" / drawn.NOTED).read_text(encoding="utf-8"))
    remedy = f"PYTHONPATH=tests .venv/bin/python -m {drawn.__name__} docs/images"
    assert noted["drawn_from"] == drawn.content_hash(), f"what they show changed: {remedy}"


def test_pictures_are_small_and_shown() -> None:
    page = (DOCS / "auditing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"images/([a-z0-9-]+)\.png", page)) == SHOWN
    for name in SHOWN:
        assert 1_000 < (DOCS / "images" / f"{name}.png").stat().st_size <= report_pictures.MAX_BYTES
