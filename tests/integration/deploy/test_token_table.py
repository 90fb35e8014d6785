"""deploy/hsm: the table of the laboratory's tokens has their keys, mechanisms and what is sealed to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.token_table import HEAD, PAGE
from harness.token_laboratory import LABORATORY, probe
from tokens import presence

pytestmark = pytest.mark.check


def rows(head: str) -> list[list[str]]:
    section = PAGE.read_text("utf-8").partition(HEAD)[2].partition("\n## ")[0]
    body = section.partition(f"\n| token | {head} |")[2].partition("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in body.splitlines()[2:]]


@pytest.mark.parametrize("name", LABORATORY)
def test_the_page_says_what_the_probe_finds(name: str, tmp_path: Path) -> None:
    token = LABORATORY[name]
    presence.skip(token.missing())
    report = probe(name, tmp_path, seconds=0)
    assert report.rows
    printed = [row[:3] for row in rows("key | mechanism | a second | median") if row[0] == name]
    assert sorted(printed) == sorted([row.token, row.key, row.mechanism] for row in report.rows)
    sealed = {row[0]: row[1] for row in rows("sealed to it | run with")}
    assert sealed[f"[{name}]({token.page})"] == (", ".join(report.sealed) or "nothing")


def test_each_token_of_the_table_is_of_the_laboratory_and_its_rates_are_there() -> None:
    printed = rows("key | mechanism | a second | median")
    assert {row[0] for row in printed} == set(LABORATORY)
    assert all(float(row[3]) > 0 for row in printed)
