"""A journal of an older version is brought up to date where it lies, whenever the power fails meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.boards import board_runs
from agent.adapters.journal.report import newest_entry, read_report
from agent.adapters.journal.store import SqliteJournal
from agent.adapters.journal.versions import versions_of
from agent.errors import JournalError

ROOT = Path(__file__).parents[3]

FORMS = ROOT / "tests" / "vectors" / "forms"
CURRENT = 4


@pytest.fixture(name="path")
def make_first(tmp_path: Path) -> Path:
    return load(tmp_path, 1)


def load(folder: Path, version: int) -> Path:
    path = folder / journal_schema.FILE_NAME
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((FORMS / f"journal-{version}.sql").read_text("utf-8"))
    connection.close()
    return path


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def schema(path: Path) -> list[tuple[str, str, str]]:
    """Tables and indexes by kind, name and text, however the text is laid out."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        ).fetchall()
    finally:
        connection.close()
    return sorted((kind, name, " ".join(without_comments(sql).split())) for kind, name, sql in rows)


def without_comments(sql: str) -> str:
    return "\n".join(line.partition("--")[0] for line in sql.splitlines())


async def assert_is_used(path: Path) -> None:
    """It holds what it held, and can do what a new one can."""
    async with SqliteJournal(path) as journal:
        (queued,) = await journal.queued_stamps()
        assert (queued.serial_number, queued.stamp.stamp) == ("BM-000001", b"\xcc")
        assert not await journal.has_label(b"\xaa")
        await journal.note_label(1, b"\xaa")
        assert await journal.has_label(b"\xaa")
    assert version(path) == CURRENT
    report = read_report(path)
    assert report.summary.parked == 1
    assert report.open_stamps[0].serial_number == "BM-000001"


async def test_old_journal_is_brought_up_to_date(path: Path) -> None:
    await assert_is_used(path)


@pytest.mark.parametrize("before", range(1, CURRENT + 1))
def test_it_becomes_what_a_new_one_is(tmp_path: Path, before: int) -> None:
    path, new = load(tmp_path, before), tmp_path / "new.sqlite"
    journal_schema.create(new)
    journal_schema.open_for_writing(path).close()
    assert schema(path) == schema(new)


def test_old_journal_is_read_as_it_is(path: Path) -> None:
    """`status`, `report` and page of a new agent, before the station was started with it."""
    assert read_report(path).summary.parked == 1
    assert newest_entry(path) is None
    assert versions_of(path, [1]) == ()
    found = board_runs(path, "1")
    assert found is not None
    assert found.agents == {}
    assert version(path) == 1


def test_making_one_leaves_an_old_one_alone(path: Path) -> None:
    journal_schema.create(path)
    assert version(path) == 1


def open_and_die(path: Path, number: int) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "proto")]),
    }
    command = [sys.executable, "-m", "harness.journal_that_dies", str(path), str(number)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


async def test_power_cut_before_each_statement(path: Path, tmp_path: Path) -> None:
    statements = int(open_and_die(_copy(path, tmp_path / "counted"), 0).stdout)
    assert statements > 8
    versions = []
    for number in range(1, statements + 1):
        cut = _copy(path, tmp_path / str(number))
        assert open_and_die(cut, number).returncode == -signal.SIGKILL
        versions.append(version(cut))
        await assert_is_used(cut)
    assert versions == sorted(versions)
    assert versions[0] == 1
    assert versions[-1] == CURRENT  # the version is read once more after the commit


def _copy(path: Path, folder: Path) -> Path:
    folder.mkdir()
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    return copy


def test_two_programs_that_open_it_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second saw the old version, waited for the first one's transaction, and finds its work done."""
    seen = [1]
    true_version = journal_schema._version

    def version_before(connection: sqlite3.Connection) -> int:
        return seen.pop() if seen else true_version(connection)

    journal_schema.open_for_writing(path).close()
    monkeypatch.setattr(journal_schema, "_version", version_before)
    second = sqlite3.connect(path, isolation_level=None)
    journal_schema._migrate(second)
    second.close()
    assert not seen
    assert version(path) == CURRENT


def test_journal_that_cannot_be_brought_up_to_date(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE label (of_somebody_else INTEGER)")
    connection.close()
    with pytest.raises(JournalError, match="cannot bring"):
        journal_schema.open_for_writing(path)
    assert version(path) == 1
