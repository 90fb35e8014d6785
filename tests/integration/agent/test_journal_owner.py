"""A journal is one station's, by the name in its certificate. Another is told, and writes nothing there."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.checks import state as state_checks
from agent.adapters.checks.finding import Examined
from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.owner import check_owner
from agent.adapters.journal.report import read_report
from agent.adapters.journal.store import SqliteJournal
from agent.config import load
from agent.core.result import Outcome, Result
from agent.errors import JournalUnusable
from harness.agent_process import AgentBench

PC1, PC2 = "birthmark://paper/station/plant1/pc1", "birthmark://paper/station/plant1/pc2"
ELSEWHERE = "birthmark://paper/station/plant2/pc1"
RUN = ("run", "--order", "WO-1", "--count", "1", "--json")
RESULT = Result("port-1", "WO-1", "CHIP", "SN", "", Outcome.PASS, "record", "", "", "", 1.0, ())


@pytest.fixture(name="path")
def make_path(tmp_path: Path) -> Path:
    path = tmp_path / journal_schema.FILE_NAME
    journal_schema.create(path)
    return path


@pytest.fixture(name="old")
def make_old(tmp_path: Path) -> Path:
    """One of before, in which a stamp waits."""
    path = tmp_path / journal_schema.FILE_NAME
    forms = Path(__file__).parents[2] / "vectors" / "forms"
    with closing(sqlite3.connect(path, isolation_level=None)) as journal:
        journal.executescript((forms / "journal-3.sql").read_text("utf-8"))
    return path


async def a_board(path: Path, station: str) -> None:
    async with SqliteJournal(path, station=station) as journal:
        await journal.finish(await journal.begin("port-1", "WO-1", "CHIP"), RESULT)


def boards(path: Path) -> int:
    return read_report(path).summary.boards


async def test_a_journal_is_the_station_s_of_the_first_board(path: Path) -> None:
    for station in (PC1, PC2):  # without a board it is nobody's: a wrong name that was enrolled anew
        async with SqliteJournal(path, station=station):
            check_owner(path, station)
    await a_board(path, PC1)
    await a_board(path, PC1)
    check_owner(path, PC1)
    for other in (PC2, ELSEWHERE, PC1 + "2"):
        with pytest.raises(JournalUnusable, match=f"is the journal of {PC1}; this station is {other}"):
            check_owner(path, other)
        with pytest.raises(JournalUnusable, match=f"is the journal of {PC1}; this station is {other}"):
            await a_board(path, other)
    assert boards(path) == 2


async def test_of_two_that_begin_at_once_one_is_told(path: Path) -> None:
    """Neither had seen the other when it looked."""
    async with SqliteJournal(path, station=PC1) as first, SqliteJournal(path, station=PC2) as second:
        begun = await asyncio.gather(
            *(each.begin(f"port-{n}", "WO-1", f"C-{n}") for n, each in enumerate((first, second))),
            return_exceptions=True,
        )
    assert sorted(isinstance(each, JournalUnusable) for each in begun) == [False, True]
    assert sum(isinstance(each, int) for each in begun) == 1


async def test_a_journal_of_before_is_its_next_station_s(old: Path) -> None:
    """Who wrote it is not known: it goes on, and from then on it is."""
    check_owner(old, PC2)
    await a_board(old, PC1)
    with pytest.raises(JournalUnusable, match="and 1 of its stamps wait"):
        check_owner(old, PC2)


async def test_a_name_that_somebody_wrote_is_shown_as_text(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as journal:
        journal.execute("INSERT INTO station VALUES (?, '')", ("\x1b[2J" + "x" * 10_000,))
    with pytest.raises(JournalUnusable) as caught:
        check_owner(path, PC1)
    assert "\x1b" not in caught.value.detail
    assert len(caught.value.detail) < 1_000


async def test_a_certificate_that_cannot_be_read_is_the_other_line_s_affair(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        (bench.station / "station.pem").write_text("no certificate")
        station = Examined(load(bench.config), broken={"certificate"})
        assert await state_checks.journal(station) == str(station.config.state / journal_schema.FILE_NAME)


def enrolled(bench: AgentBench, uri: str) -> None:
    """The certificate that signerd gives for this name is put there by hand."""
    request = (bench.station / "station.csr.pem").read_bytes()
    (bench.station / "station.pem").write_bytes(bench.signerd.issue_station(request, uri))


@pytest.mark.check
async def test_a_folder_that_came_with_the_image_of_another_pc(tmp_path: Path) -> None:
    """doctor, run and enroll say the same. A renewal and another PC of the same name go on."""
    async with AgentBench(tmp_path) as bench:
        ports = [bench.board(f"CHIP-{number}").port for number in range(3)]
        assert (await (await bench.start(*RUN, "--port", ports[0])).end()).code == 0

        (bench.station / "station.key").unlink()  # another PC in its place, enrolled by the same name
        assert (await bench.request()).code == 0
        said = await bench.command("enroll", "--dir", bench.station, *bench.given())
        assert said.code == 0, said.err
        assert (await (await bench.start(*RUN, "--port", ports[1])).end()).code == 0

        before = (bench.station / "station.pem").read_bytes()
        given = bench.given(uri=PC2)
        said = await bench.command("enroll", "--dir", bench.station, *given)
        assert said.code == 3
        assert f"is the journal of {PC1}" in said.err
        assert (bench.station / "station.pem").read_bytes() == before

        enrolled(bench, PC2)
        (finding,) = (
            each
            for each in json.loads((await (await bench.start("doctor", "--json")).end()).out)
            if each["check"] == "journal"
        )
        run = await (await bench.start(*RUN, "--port", ports[2])).end()
        assert (finding["state"], run.code) == ("bad", 3)
        assert f"is the journal of {PC1}; this station is {PC2}" in finding["detail"]
        assert str(finding["detail"]) in run.err
        assert str(finding["remedy"]) in run.err
        assert "board_seen" not in run.out

        shutil.move(bench.station / "state", tmp_path / "kept")  # the remedy
        assert (await bench.command("enroll", "--dir", bench.station, *given)).code == 0
        assert (await (await bench.start(*RUN, "--port", ports[2])).end()).code == 0
        assert (boards(tmp_path / "kept" / journal_schema.FILE_NAME)) == 2
