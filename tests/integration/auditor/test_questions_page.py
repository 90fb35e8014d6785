"""docs/auditing.md, "Questions": its commands, walked as they are printed, and a row for each."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import questions
from auditor.cli.app import app
from harness.asked import Asked
from harness.audit_bench import opened
from harness.many_boards import add, chip
from harness.pages import REPOSITORY

PAGE = (REPOSITORY / "docs" / "auditing.md").read_text("utf-8")
CHAPTER = PAGE.partition("\n## Questions\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    birthmark-auditor (.+)$", CHAPTER, re.MULTILINE)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = opened()
    add(log, 1)
    add(log, 2, stamped=False)
    made = tmp_path_factory.mktemp("page")
    (made / "audit").mkdir()
    Asked(made / "audit", log).verify()
    (made / "bought.txt").write_text(f"{chip(1)}\n{chip(3)}\n", "ascii")
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_as_it_is_printed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(directory)
    done = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout


def test_each_question_has_a_row_an_example_and_a_help_text_with_one() -> None:
    rows = re.findall(r"^\| `([a-z]+)[^`]*` \|", CHAPTER, re.MULTILINE)
    names = [question.__name__ for question in questions.QUESTIONS]
    assert rows == names
    assert {command.split()[0] for command in COMMANDS} == set(names)
    for name in names:
        said = CliRunner().invoke(app, [name, "--help"]).stdout
        assert f"Example: birthmark-auditor {name}" in " ".join(said.split())
