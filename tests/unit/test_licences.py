"""Whose files are under which licence (docs/adr/0014)."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "agent" / "adapters" / "drivers" / "esp32"
HEADER = "# SPDX-License-Identifier: GPL-2.0-or-later\n"
SHIPPED = [path for program in ("agent", "auditor", "signerd") for path in (ROOT / program).rglob("*.py")]


def test_the_worker_and_its_parts_say_gpl_and_nothing_else_does() -> None:
    theirs = {WORKER / "worker.py", *(WORKER / "gpl").rglob("*.py")}
    assert {path for path in SHIPPED if path.read_text("utf-8").startswith(HEADER)} == theirs


def test_the_wheel_names_both_licences_and_has_both_texts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0 AND GPL-2.0-or-later"
    texts = [path.read_text("utf-8") for pattern in project["license-files"] for path in ROOT.glob(pattern)]
    titles = ("Apache License", "GNU GENERAL PUBLIC LICENSE")
    assert [title in text[:400] for title, text in zip(titles, texts, strict=True)] == [True, True]
