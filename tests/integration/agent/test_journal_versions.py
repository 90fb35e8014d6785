"""The journal says which agent wrote which runs, and names the agent that a journal from later needs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.adapters.cli.app import app
from agent.adapters.cli.options import exit_code
from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.boards import board_runs
from agent.adapters.journal.store import SqliteJournal
from agent.adapters.journal.versions import WrittenBy, versions_of
from agent.adapters.shown.page.records import _board
from agent.core.result import Outcome, Result
from agent.errors import JournalError
from agent.program import program_version
from harness.shift import add_run

RESULT = Result("port-1", "WO-1", "", "", "", Outcome.PASS, "record", "", "", "", 1.0, ())


@pytest.fixture(name="path")
def make_path(tmp_path: Path) -> Path:
    path = tmp_path / journal_schema.FILE_NAME
    journal_schema.create(path)
    return path


async def write(path: Path, version: str | None, runs: int = 1) -> list[int]:
    """Boards that pass, written by the agent of this version; None: this one."""
    async with SqliteJournal(path, version=version) as journal:
        numbers = []
        for number in range(runs):
            run = await journal.begin("port-1", "WO-1", f"CHIP-{number}")
            await journal.finish(run, replace(RESULT, chip_id=f"CHIP-{number}", serial_number=f"SN-{number}"))
            numbers.append(run)
        return numbers


async def test_a_row_where_another_version_begins_to_write(path: Path) -> None:
    old = await write(path, "1.0", 3)
    assert await write(path, "1.0") == [4]  # started again
    new = await write(path, "1.1+local-2", 2)
    back = await write(path, "1.0")  # somebody installed the old one again
    everything = [*old, 4, *new, *back]
    assert [(each.first_run, each.version) for each in versions_of(path, everything)] == [
        (1, "1.0"),
        (5, "1.1+local-2"),
        (7, "1.0"),
    ]
    assert [each.first_run for each in versions_of(path, [4, 6])] == [1, 5]
    assert versions_of(path, []) == ()


async def test_this_agent_writes_its_own_version(path: Path) -> None:
    runs = await write(path, None)
    assert [each.version for each in versions_of(path, runs)] == [program_version()]
    assert program_version()


async def test_two_programs_of_different_versions_at_once(path: Path) -> None:
    """`run` goes on while a newer agent was installed, and `provision` is that one."""
    async with SqliteJournal(path, version="1.0") as old, SqliteJournal(path, version="2.0") as new:
        runs = [
            await each.begin(f"port-{n}", "WO-1", f"C-{n}") for n, each in enumerate((old, new, old, old))
        ]
    assert [each.first_run for each in versions_of(path, runs)] == [1, 2, 3]


async def test_runs_of_before_are_of_no_version(path: Path) -> None:
    before = add_run(path, chip="CHIP-0", serial="SN-0")
    after = await write(path, "1.1")
    found = board_runs(path, "CHIP-0")
    assert found is not None
    assert found.agents == {after[0]: "1.1"}
    runs = json.loads(_board(path, "CHIP-0", frozenset()))["runs"]
    assert [(run["run"], run["agent"]) for run in runs] == [(after[0], "1.1"), (before, "")]


def test_the_report_names_them(path: Path) -> None:
    asyncio.run(write(path, "1.0", 2))
    asyncio.run(write(path, "\x1b[2J", 1))  # nobody's agent: what stands there is shown as text
    enrolment = "".join(
        f'{key} = "{key}"\n' for key in ("certificate", "key", "operations_ca", "log_vkey", "device_root")
    )
    config = path.with_name("agent.toml")
    head = 'deployment = "paper"\nstate = "."\n[signerd]\naddress = "signer.example:1"\n'
    config.write_text(head + enrolment)
    said = CliRunner().invoke(app, ["report", "-c", str(config)]).stdout
    assert "birthmark-agent 1.0, since " in said
    assert "(run 3)" in said
    assert "\x1b" not in said
    report = json.loads(CliRunner().invoke(app, ["report", "-c", str(config), "--json"]).stdout)
    assert [(each["version"], each["first_run"]) for each in report["agents"]] == [("1.0", 1), ("\x1b[2J", 3)]
    assert {*report["agents"][0]} == {field.name for field in fields(WrittenBy)}


@pytest.mark.parametrize(
    ("left", "named"),
    [
        ("INSERT INTO written_by VALUES (1, '2.5.0', '')", "birthmark-agent 2.5.0"),
        ("INSERT INTO written_by VALUES (1, '', '')", ""),
        ("INSERT INTO written_by VALUES (1, '2.5.0; rm -rf', '')", ""),
        (f"INSERT INTO written_by VALUES (1, '{'9' * 65}', '')", ""),
        ("DROP TABLE written_by", ""),
        ("DROP TABLE written_by; CREATE TABLE written_by (first_run, version)", ""),
        (
            "DROP TABLE written_by; CREATE TABLE written_by (first_run, version);"
            " INSERT INTO written_by VALUES (1, x'00ff')",
            "",
        ),
    ],
)
@pytest.mark.parametrize("open_it", [journal_schema.open_for_writing, journal_schema.open_for_reading])
def test_a_journal_of_a_newer_agent_names_it(path: Path, left: str, named: str, open_it: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"{left}; PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="version 99, this agent writes version 4") as caught:
        open_it(path)  # type: ignore[operator]
    assert exit_code(caught.value) == 3  # which the unit does not start again
    wanted = f"Install the agent that wrote it, {named}, or a newer one."
    assert caught.value.remedy == (wanted if named else "Install the agent that wrote it, or a newer one.")
