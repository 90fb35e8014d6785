"""The documentation's pictures of the page are of this page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from PIL import Image

from demo.page_pictures import MAX_BYTES, NOTED, PICTURES, content_hash

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_pictures_are_current_small_and_shown() -> None:
    noted = json.loads((DOCS / "images" / NOTED).read_text(encoding="utf-8"))
    remedy = "PYTHONPATH=tests .venv/bin/python -m demo.page_pictures docs/images"
    assert noted["drawn_from"] == content_hash(), f"the page or its data changed: {remedy}"
    page = (DOCS / "stations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"images/(page-[a-z0-9-]+)\.png", page)) == set(PICTURES)
    sizes = set()
    for name in PICTURES:
        path = DOCS / "images" / f"{name}.png"
        assert path.stat().st_size <= MAX_BYTES
        with Image.open(path) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 4  # five sizes of screens; a wall's is shown at half its size
