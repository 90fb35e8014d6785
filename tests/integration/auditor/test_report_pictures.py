"""The documentation's pictures of a report and of the verifier page are of these pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

from demo.report_pictures import MAX_BYTES, NOTED, PICTURES, content_hash

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_pictures_are_current_small_and_shown() -> None:
    noted = json.loads((DOCS / "images" / NOTED).read_text(encoding="utf-8"))
    remedy = "PYTHONPATH=tests .venv/bin/python -m demo.report_pictures docs/images"
    assert noted["drawn_from"] == content_hash(), f"the pages or their data changed: {remedy}"
    page = (DOCS / "auditing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"images/([a-z0-9-]+)\.png", page)) == set(PICTURES)
    for name in PICTURES:
        assert 1_000 < (DOCS / "images" / f"{name}.png").stat().st_size <= MAX_BYTES
