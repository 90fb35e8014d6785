"""`signerd database`."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.config import Config
from sqlalchemy import create_engine

from harness.installation import Installation
from harness.process import REPOSITORY, run
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check


def test_a_database_of_before_is_upgraded_by_its_command(fresh: Installation) -> None:
    assert "the newest schema already" in fresh.admin("database", "upgrade")
    database, before = fresh.home / "signerd.sqlite", fresh.directory / "before.sqlite"
    make_at(before, "0001")
    with closing(sqlite3.connect(before)) as old:
        old.execute("ATTACH ? AS new", (str(database),))
        for table, columns in (("entries", "*"), ("head", "id, size, root")):
            old.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
        old.commit()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    before.rename(database)
    for refused in ("run", "check-config"):
        code, said = signerd(fresh, refused)
        assert (code, "signerd database upgrade" in said) == (3, True), said
    assert "upgraded the database from schema 0001" in fresh.admin("database", "upgrade")
    fresh.start_signerd()
    assert "another signerd holds" in signerd(fresh, "database", "upgrade")[1]
    assert signerd(fresh, "order", "list")[0] == 0


def test_a_database_is_compared_beside_signerd_as_the_manual_has_it(fresh: Installation) -> None:
    fresh.start_signerd()
    commands = printed("#### Comparing the whole database")
    assert commands == [["signerd", "database", "verify"], ["signerd", "database", "verify", "--json"]]
    people, machines = (signerd(fresh, *command[1:]) for command in commands)
    assert (people[0], machines[0]) == (0, 0), people
    assert "the database is what the ledger says" in people[1]
    said = json.loads(machines[1])
    assert (said["finding_count"], said["log_is_whole"]) == (0, True)
    assert said["entries"] >= said["covered_entries"] > 0
    with closing(sqlite3.connect(fresh.home / "signerd.sqlite", timeout=10)) as database:
        database.execute("INSERT INTO approvals VALUES (x'00', 0, 1)")
        database.commit()
    code, text = signerd(fresh, "database", "verify")
    assert code == 1
    assert "differs: approvals, part 0 of request 00: no entry used it" in text
    assert "what to do: keep a copy of the database" in text
    code, text = signerd(fresh, "database", "verify", "--json")
    (finding,) = json.loads(text)["findings"]
    assert (code, finding["table"], finding["again"]) == (1, "approvals", False)


def test_a_database_is_made_anew_as_the_manual_has_it(fresh: Installation) -> None:
    text = section("#### Making the database anew from the log")
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    assert [line.split()[0] for line in lines] == [
        "systemctl", "signerd", "mkdir", "mv", "mv", "signerd", "systemctl"
    ]  # fmt: skip
    fresh.start_signerd()
    rebuild = lines[1].replace("/var/lib/signerd", str(fresh.home)).split()
    assert "another signerd holds" in signerd(fresh, *rebuild[1:])[1]
    fresh.process.stop()
    database = fresh.home / "signerd.sqlite"
    with closing(sqlite3.connect(database)) as doctored:
        doctored.execute("UPDATE issuers SET state = 'retired'")
        doctored.commit()
    for line in lines[1:-1]:
        there = line.replace("/var/lib/signerd", str(fresh.home))
        if there.startswith("signerd "):
            code, said = signerd(fresh, *there.split()[1:])
            assert code == 0, said
        else:
            run(["bash", "-c", there])
    assert "the database is what the ledger says" in said
    assert (fresh.home / "before" / "signerd.sqlite").exists()
    fresh.start_signerd()
    assert signerd(fresh, "ca", "list")[0] == 0


def section(heading: str) -> str:
    """Of docs/operations.md."""
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    return re.split(r"\n#+ ", page.partition(f"\n{heading}\n")[2])[0]


def printed(heading: str) -> list[list[str]]:
    """The commands of a section, without their comments."""
    lines = re.findall(r"^ {4}(signerd .*)$", section(heading), re.MULTILINE)
    return [line.partition("#")[0].split() for line in lines]


def make_at(path: Path, revision: str) -> None:
    """A database of an earlier schema, empty."""
    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, revision)
    engine.dispose()
