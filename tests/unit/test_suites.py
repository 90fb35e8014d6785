"""Every test belongs to one tier, and every tier is run by a command."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

import suites
from suites import CHECK, CI_MINUTES, KEPT_FREE, NO_TESTS, SUITES, TEST, Outcome, Suite

REPOSITORY = Path(__file__).parents[2]
TESTS = REPOSITORY / "tests"
FILES = sorted(TESTS.rglob("test_*.py"))


def marks(path: Path) -> set[str]:
    """`x` of every `pytest.mark.x` in a file."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark"
    }


def runs(suite: Suite, path: Path) -> bool:
    return any(path.is_relative_to(REPOSITORY / folder) for folder in suite.paths)


def test_the_tiers_divide_the_tests() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    named = {line.partition(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]}
    assert named == {"bench", "check", "soak"}
    terms = {"check": False, "soak": False, "bench": False}

    def tiers(**marked: bool) -> list[str]:
        return [tier for tier in (TEST, CHECK, "soak") if eval(tier, {}, terms | marked)]

    assert tiers() == [TEST]
    assert tiers(check=True) == [CHECK]
    assert tiers(soak=True) == tiers(soak=True, check=True) == ["soak"]


def test_every_file_is_run_by_make_test_and_by_a_suite_of_make_check() -> None:
    assert len(FILES) > 100
    (everything,) = (suite for suite in SUITES if suite.tier == TEST)
    for path in FILES:
        assert runs(everything, path)
        found = [suite.name for suite in SUITES if suite.tier == CHECK and runs(suite, path)]
        assert len(found) == 1, path


@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite.tier == CHECK], ids=lambda s: s.name)
def test_a_suite_has_something_to_run(suite: Suite) -> None:
    assert any("check" in marks(path) for path in FILES if runs(suite, path))


def test_the_budgets_leave_room() -> None:
    assert sum(suite.minutes for suite in SUITES) <= CI_MINUTES - KEPT_FREE


def test_the_commands_are_those_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    assert f"-m '{TEST}'" in makefile
    assert "-m suites" in makefile
    assert "-m 'soak and not bench'" in makefile
    assert "make check" in (REPOSITORY / ".ci" / "run").read_text("utf-8")


TESTS_SUITE = Suite("some", 1, tier=TEST, paths=("tests",))


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (Outcome(TESTS_SUITE, 0, 60), ""),
        (Outcome(TESTS_SUITE, 0, 61), "over its budget"),
        (Outcome(TESTS_SUITE, 0, 89, pace=1.5), ""),
        (Outcome(TESTS_SUITE, 0, 91, pace=1.5), "over its budget"),
        (Outcome(TESTS_SUITE, 0, 61, pace=0.5), "over its budget"),
        (Outcome(TESTS_SUITE, 0, 121, pace=9.0), "over its budget"),
        (Outcome(TESTS_SUITE, 1, 1), "exit code 1"),
        (Outcome(TESTS_SUITE, NO_TESTS, 1), "no test"),
        (Outcome(TESTS_SUITE, -9, 120), "killed"),
    ],
)
def test_what_is_wrong_with_a_suite(outcome: Outcome, problem: str) -> None:
    assert problem in outcome.problem
    assert bool(outcome.problem) == bool(problem)


def test_one_suite_that_fails_fails_the_whole_and_the_next_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('ran', sys.argv[1]); sys.exit(int(sys.argv[1]))"
    both = [Suite(name, 1, command=(sys.executable, "-c", code, name)) for name in ("3", "0")]
    monkeypatch.setattr(suites, "SUITES", both)
    monkeypatch.setattr(suites, "pace", lambda: 1.0)
    assert suites.main([]) == 1
    said = capfd.readouterr().out
    assert "ran 3" in said
    assert "ran 0" in said
    assert "failed with exit code 3" in said
    assert suites.main(["0"]) == 0
    assert suites.main(["none"]) == 2


def test_work_that_tells_the_pace_is_done() -> None:
    assert 0.1 < suites.pace() < 1_000


def test_a_suite_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "pace", lambda: 1.0)
    hanging = Suite("hangs", 0.002, command=(sys.executable, "-c", "import time; time.sleep(60)"))
    assert "killed" in suites.run(hanging).problem
