"""Databases and files that older programs kept, in tests/vectors/forms, are what today's go on from."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.report import read_report
from agent.adapters.journal.store import SqliteJournal
from auditor.adapters.schema import VERSION
from auditor.adapters.state import FILE, SqliteState
from auditor.core.growth import Growth
from harness.form_fixtures import CLOCK_BOOT
from signerd.adapters.clock import ReferenceFile

FORMS = Path(__file__).parents[1] / "vectors" / "forms"


def load(path: Path, name: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((FORMS / name).read_text("utf-8"))
    connection.close()


@pytest.mark.parametrize("name", sorted(path.name for path in FORMS.glob("journal-*.sql")))
async def test_a_station_goes_on_with_its_journal(tmp_path: Path, name: str) -> None:
    path = tmp_path / journal_schema.FILE_NAME
    load(path, name)
    async with SqliteJournal(path) as journal:
        (queued,) = await journal.queued_stamps()
        await journal.stamp_refused(queued, "stamp_rejected", "")
    report = read_report(path)
    assert [stamp.serial_number for stamp in report.open_stamps] == []


@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_an_auditor_keeps_the_checkpoint_and_the_findings_of_its_state(tmp_path: Path, version: int) -> None:
    load(tmp_path / FILE, f"auditor-state-{version}.sql")
    connection = sqlite3.connect(tmp_path / FILE)
    with connection:
        connection.execute(
            "INSERT INTO findings (id, code, detail, idx, serial_number, expected, found, found_at)"
            " VALUES (7, 'F312', 'less evidence than ordered', 11, 'WO-1-000004', 'chip', 'none', 1800000000)"
            if version < 6
            else "INSERT INTO findings VALUES"
            " (7, 'F312', 'less evidence than ordered', 11, 'WO-1-000004', 'chip', 'none', 1800000000, 1)"
        )
        if version >= 6:
            connection.execute("INSERT INTO acknowledgements VALUES (7, x'7b7d', x'', 1800000001, 1)")
    connection.close()
    with SqliteState.open(tmp_path) as state:
        assert state.kept() is None  # everything else is read anew
        passing = state.passing()
        assert passing is not None
        assert passing.size == 11
        (found,) = state.findings()
        assert (found.finding.code.value, found.finding.index, found.number) == ("F312", 11, 7)
        assert len(found.acknowledged) == (version >= 6)
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


def test_an_auditor_goes_on_from_its_state(tmp_path: Path) -> None:
    load(tmp_path / FILE, f"auditor-state-{VERSION}.sql")
    with SqliteState.open(tmp_path) as state:
        kept = state.kept()
        assert kept is not None
        assert Growth.of(kept.frontier, kept.tail).root() == kept.checkpoint.root
        assert state.totals.certificates == 3
        for certificate in state.certificates_of():  # by its marks
            assert state.certificate(certificate.certificate_sha256) == certificate
        assert state.open_intents() == []
        assert state.findings() == []


def test_signerd_reads_the_reference_of_its_clock(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    path.write_bytes((FORMS / "clock-1.json").read_bytes())
    assert ReferenceFile(path, CLOCK_BOOT).load() == 12.5
    path.write_bytes(path.read_bytes().replace(b'"v": 1', b'"v": 2'))
    assert ReferenceFile(path, CLOCK_BOOT).load() is None
