"""docs/auditing.md names every kind of finding, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from auditor.core.codes import Code

PAGE = Path(__file__).parents[3] / "docs" / "auditing.md"


def test_every_finding_is_documented() -> None:
    rows = re.findall(r"^\| (F\d{3}) \| ([a-z ]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(code.value, code.title) for code in Code]
