"""Questions to an auditor's state: a ledger whose names and counts are made to do harm, and lists that are
none. Nothing of it reaches a terminal or a spreadsheet as more than text, and nothing takes the memory."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from auditor.adapters.questions import chips
from auditor.adapters.questions.reading import Reading
from auditor.adapters.state import FILE
from auditor.cli import output
from auditor.cli.app import app
from auditor.core.questions.kinds import Kinds
from auditor.errors import ConfigError
from harness.asked import Asked
from harness.audit_bench import opened
from harness.many_boards import add, add_refusal, chip
from harness.paper_log import STATION

# `site` of an entry may be any text without the controls of ASCII: these were let through.
SITES = (
    "\x9b2J\x9b31mgone",  # CSI, in one character
    "\u202egnp.exe",
    '=HYPERLINK("http://evil.example","pay")',
    "\N{FULLWIDTH EQUALS SIGN}cmd|' /C calc'!A0",
    "+1\u2028@SUM(1)",
    "\u200b=1",
    "[bold red]markup[/]",
    'a,b;c"d',
)
MOST = 2**53 - 1


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    log = opened()
    for site in SITES:
        log.append(
            "chips_personalized",
            count=1,
            again=0,
            chips_sha256="00" * 32,
            locked=True,
            site=site,
            key="hmac-sha256",
        )
    for _ in range(3):
        add_refusal(log, count=MOST, chip_id=chip(1))
    add(log, 1)
    for number in (2, 3):
        add(log, number, stamped=False)
    made = Asked(tmp_path_factory.mktemp("hostile"), log)
    made.verify()
    return made


def test_names_that_command_a_terminal_are_spelled(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(output, "Console", lambda: Console(force_terminal=True, width=240, file=shown))
    asked.run("who")
    text = shown.getvalue()
    assert "\\x9b2J\\x9b31mgone" in text
    assert "\\u202egnp.exe" in text
    assert "[bold red]markup[/]" in text
    assert not set(text) & {"\x9b", "\u202e", "\u2028", "\u200b"}


def test_names_that_are_formulas_are_text_to_a_spreadsheet(asked: Asked) -> None:
    rows = asked.table("who", "--act", "chips_personalized")[1:]
    assert len(rows) == len(SITES)  # no name begins a row of its own
    assert [row["about"] for row in rows] == [
        "\\x9b2J\\x9b31mgone",
        "\\u202egnp.exe",
        "'" + SITES[2],
        "'" + SITES[3],
        "'+1\\u2028@SUM(1)",
        "\\u200b=1",
        *SITES[6:],
    ]


def test_names_come_whole_to_a_program(asked: Asked) -> None:
    said = asked.run("who", "--json")
    assert said.isascii()
    told = [json.loads(line).get("about") for line in said.splitlines()]
    assert set(SITES) <= set(told)


def test_counts_beyond_all_bounds_stay_numbers(asked: Asked) -> None:
    (row,) = asked.lines("stations", "--station", STATION)
    assert row["refusals"] == MOST
    (order,) = asked.lines("orders")
    assert order["refused"] == 3 * MOST
    (refused,) = asked.lines("chips")
    assert refused["refusals"] == 3 * MOST


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"chip_id\n" + chip(1).encode(), "line 1 is the name of a column"),
        (b"\x7fELF\x00\x01\x02", "line 1 is no chip id"),
        (f"{chip(1)}\n".encode("utf-16"), "line 1 is no chip id"),
        (f"{chip(1)}\n".encode() + b"x" * 5_000, "line 2 is no chip id"),
        (f"{chip(1)}\n{chip(2)}\n{chip(1)}\n".encode(), "line 3 stands there twice"),
        (b"\n\nkey=" + b"ab" * 32, "line 3 names a key"),
        ("\u202e7c\n".encode(), "line 1 is no chip id"),
        (b"=1+1\n", "line 1 is no chip id"),
        (f"{chip(1)}\r{chip(2)}".encode(), "line 1 is no chip id"),  # a Macintosh of long ago
    ],
)
def test_a_list_that_is_none_is_refused_whole_with_its_line(
    asked: Asked, tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "list").write_bytes(data)
    done = CliRunner().invoke(app, ["chips", "--chips", str(tmp_path / "list"), "-c", str(asked.config)])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
    assert str(tmp_path / "list") in str(done.exception)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_list_without_an_end_is_refused_at_its_first_line(asked: Asked) -> None:
    done = CliRunner().invoke(app, ["chips", "--chips", "/dev/zero", "-c", str(asked.config)])
    assert "line 1 is no chip id" in str(done.exception)


def test_a_huge_list_takes_no_memory(asked: Asked, tmp_path: Path) -> None:
    """The more lines, the more disk: of Python's memory it takes the same."""
    peaks = []
    for lines in (500, 15_000):
        (tmp_path / "list").write_text("".join(f"{number:016x}\n" for number in range(lines)), "ascii")
        with Reading.open(asked.directory / "state") as reading:
            tracemalloc.start()
            found = sum(1 for _ in chips.against(reading, tmp_path / "list", order="", kinds=Kinds()))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert found == lines + 3  # none of them, and the three that were certified
    assert peaks[1] < peaks[0] + 300_000  # lines kept would be a million


@pytest.mark.parametrize("question", ["missing", "orders", "stations", "who", "chips"])
def test_a_reader_that_goes_after_a_row_leaves_no_trace(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """As `| head -1` does. What a row still held would be told as an exception that nobody caught."""

    def gone(_output: output.Output, event: str, _values: object) -> None:
        if event != "as_of":
            raise BrokenPipeError

    monkeypatch.setattr(output.Output, "line", gone)
    done = CliRunner().invoke(app, [question, "--json", "-c", str(asked.config)])
    assert done.exit_code == 1
    assert not isinstance(done.exception, ConfigError)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", None),
        ("head", b"[]"),
        ("head", b"no"),
        ("totals", b'{"last_time": 1e30}'),
        ("looked_at", b"x"),
    ],
)
def test_a_state_that_was_doctored_is_said_to_be(
    asked: Asked, tmp_path: Path, key: str, value: bytes | None
) -> None:
    shutil.copytree(asked.directory / "state", tmp_path / "state")
    with closing(sqlite3.connect(tmp_path / "state" / FILE)) as state:
        state.execute("DELETE FROM meta WHERE key = ?", (key,))
        if value is not None:
            state.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        state.commit()
    with (
        Reading.open(tmp_path / "state") as reading,
        pytest.raises(ConfigError, match="the state is damaged"),
    ):
        reading.as_of()


def test_an_answer_of_a_log_that_lost_its_end_says_so(asked: Asked) -> None:
    """A list of boards to recall lacks those whose entries are lost."""
    with Reading.open(asked.directory / "state") as reading:
        as_of = reading.as_of()
    assert "lost" not in as_of.text
    assert replace(as_of, successor=2).text.endswith("successor 2: boards of lost entries are in no answer")
