"""The threat model's tables and the hostile tests name each other: every test that a table names exists, and
every hostile test stands in a table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "threat-model.md"
HOSTILE = REPOSITORY / "tests" / "hostile"
EVIDENCE = "Attacks on evidence"
ATTACKERS = "Who attacks"
COLUMNS = ["attacker", "attempt", "defence", "test"]
# Named in prose beside the tests.
NO_TEST = re.compile(r"harness\.[a-z_.]+")


@dataclass(frozen=True)
class Row:
    """One attack, under the headings that it stands under."""

    part: str  # the heading of the second level
    cells: tuple[str, ...]
    file: str  # whose tests are named without a file

    @property
    def named(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.cells[-1])


def rows() -> Iterator[Row]:
    part = file = ""
    header: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            header, file = [], ""
            part = line.removeprefix("## ") if line.startswith("## ") else part
        elif named := re.match(r"Tests are in `tests/hostile/(test_\w+\.py)`", line):
            file = named[1]
        elif line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif header == COLUMNS:
                yield Row(part, tuple(cells), file)


@cache
def found_in(path: Path) -> set[str]:
    return {
        f"{path.name}::{node.name}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


ROWS = list(rows())
TESTS = {name for path in sorted(HOSTILE.glob("test_*.py")) for name in found_in(path)}


def named_by(row: Row) -> set[str]:
    """The hostile tests that a row names; fails where it names what is not there."""
    found: set[str] = set()
    for name in row.named:
        if NO_TEST.fullmatch(name):
            continue
        if name.startswith("tests/"):
            assert (REPOSITORY / name).exists(), name
            continue
        file, _, test = name.partition("::")
        if not test and not file.endswith(".py"):
            file, test = row.file, name
        whole = found_in(HOSTILE / file)
        found |= {f"{file}::{test}"} if test else whole
        assert found <= TESTS, found - TESTS
    return found


def test_a_defence_is_more_than_the_name_of_an_attacker() -> None:
    attackers = {row.cells[0] for row in ROWS}
    assert len(attackers) > 5
    assert [row.cells for row in ROWS if row.cells[2] in attackers] == []


def test_there_are_tables_with_attacks_in_them() -> None:
    assert {row.part for row in ROWS} == {"Attacks on the line", "Doctored stores", EVIDENCE}
    assert len(TESTS) > 300


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cells[1][:60])
def test_a_row_is_whole_and_its_tests_exist(row: Row) -> None:
    assert len(row.cells) == len(COLUMNS)
    assert all(row.cells)
    assert row.named
    named_by(row)


def test_every_hostile_test_stands_in_a_table() -> None:
    named = set[str]().union(*map(named_by, ROWS))
    assert TESTS - named == set()


def test_no_test_of_evidence_stands_for_two_attacks() -> None:
    named = [name for row in ROWS if row.part == EVIDENCE for name in named_by(row)]
    assert len(named) == len(set(named))


def test_at_least_sixty_attacks_on_evidence_each_with_a_test_of_its_own() -> None:
    attacks = [row for row in ROWS if row.part == EVIDENCE]
    assert len(attacks) >= 60
    assert all(named_by(row) for row in attacks)


def test_attackers_are_those_that_the_page_introduces() -> None:
    text = PAGE.read_text(encoding="utf-8").partition(f"## {ATTACKERS}\n")[2].partition("\n## ")[0]
    introduced = set(re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE))
    assert len(introduced) > 5
    assert {row.cells[0] for row in ROWS} <= {name.removesuffix(", taken over") for name in introduced}
