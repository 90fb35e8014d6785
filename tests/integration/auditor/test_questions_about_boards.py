"""`missing` and `doubt`: which boards have no stamp, and which a doubtful station had in hand."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.adapters.questions.reading import Reading
from auditor.adapters.state import FILE, SqliteState
from auditor.cli.app import app
from auditor.errors import ConfigError, NotFound
from harness.asked import Asked
from harness.audit_bench import opened
from harness.many_boards import CLAIMS, add, add_revocation, add_stamp, members_of
from harness.paper_log import STATION, text

OTHER = STATION.replace("pc1", "pc2")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Station pc1: 1 stamped, 2 waits for 60 h, 3 revoked. pc2, on another order: 1 and 2 wait for 10 h."""
    log = opened(quantity=9)
    log.add_station(OTHER)
    log.open_order("WO-2", stations=[OTHER, STATION], quantity=9, reissue="always")
    add(log, 1)
    log.now += timedelta(hours=1)
    add(log, 2, stamped=False)
    add_revocation(log, members_of(log, add(log, 3, stamped=False)))
    log.now += timedelta(hours=50)
    for number, version in ((1, "1.2.0"), (2, "1.3.0")):
        claims = CLAIMS | {"firmware": {"app": [version, "ab" * 32]}}
        serial = f"WO-2-{number:06d}"
        add(
            log, number + 10, stamped=False, work_order="WO-2", number=number, serial_number=serial,
            station=OTHER, claims=claims,
        )  # fmt: skip
    log.now += timedelta(hours=10)
    log.add_product()
    made = Asked(tmp_path_factory.mktemp("asked"), log)
    made.verify()
    return made


def serials(found: list[dict[str, object]]) -> list[object]:
    return [row["serial_number"] for row in found]


def test_missing_are_those_without_a_stamp_oldest_first(asked: Asked) -> None:
    found = asked.lines("missing")
    assert serials(found) == ["WO-1-000002", "WO-2-000001", "WO-2-000002"]
    assert [row["age_h"] for row in found] == [60.0, 10.0, 10.0]
    first = found[0]
    assert (first["station"], first["work_order"], first["number"]) == (STATION, "WO-1", 2)
    assert (first["level"], first["method"], first["firmware"]) == ("key", "hmac-sha256", {"app": "1.2.0"})
    assert members_of(asked.log, first["issued_entry"])["serial_number"] == "WO-1-000002"


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["--older-than", "11h"], ["WO-1-000002"]),
        (["--older-than", "3d"], []),
        (["--order", "WO-2"], ["WO-2-000001", "WO-2-000002"]),
        (["--order", "WO-1", "--station", OTHER], []),
        (["--station", OTHER], ["WO-2-000001", "WO-2-000002"]),
        (["--station", "plant1/pc1"], ["WO-1-000002"]),
        (["--firmware", "app=1.3.0"], ["WO-2-000002"]),
        (["--firmware", "app=1.3.0", "--firmware", "boot=1"], []),
        (["--method", "none"], []),
        (
            ["--level", "key", "--product", "sensor", "--older-than", "599m"],
            ["WO-1-000002", "WO-2-000001", "WO-2-000002"],
        ),
    ],
)
def test_missing_by_age_order_station_and_evidence(
    asked: Asked, words: list[str], numbers: list[str]
) -> None:
    assert serials(asked.lines("missing", *words)) == numbers
    assert [row["serial_number"] for row in asked.table("missing", *words)] == numbers


@pytest.mark.parametrize("words", [["--order", "WO-9"], ["--station", "plant1/pc9"]])
def test_a_name_that_the_ledger_does_not_have_is_no_empty_answer(asked: Asked, words: list[str]) -> None:
    done = CliRunner().invoke(app, ["missing", *words, "-c", str(asked.config)])
    assert isinstance(done.exception, NotFound)


@pytest.mark.parametrize(
    "words", [["--older-than", "soon"], ["--firmware", "1.2.0"], ["--csv", "--json"], ["--level", "all"]]
)
def test_what_cannot_be_asked_is_a_usage_error(asked: Asked, words: list[str]) -> None:
    assert CliRunner().invoke(app, ["missing", *words, "-c", str(asked.config)]).exit_code == 2


def test_an_answer_says_which_entries_it_rests_on(asked: Asked) -> None:
    with Reading.open(asked.directory / "state") as reading:
        as_of = reading.as_of()
        assert as_of.entries == as_of.checkpoint == len(asked.log.entries)
        assert as_of.whole
        assert as_of.findings == 0
        assert as_of.text.startswith(f"as of the first {as_of.entries} entries of the ledger, the newest of")
        add(asked.log, 4, stamped=False)
        asked.verify()  # meanwhile
        assert reading.as_of() == as_of
    assert "WO-1-000004" in serials(asked.lines("missing", "--order", "WO-1"))
    add_stamp(asked.log, members_of(asked.log, len(asked.log.entries) - 1))
    asked.verify()
    assert serials(asked.lines("missing", "--order", "WO-1")) == ["WO-1-000002"]


def test_a_state_without_a_run_and_one_of_before_answer_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="birthmark-auditor verify"), Reading.open(tmp_path):
        pass
    with SqliteState.open(tmp_path):
        pass
    with Reading.open(tmp_path) as reading, pytest.raises(NotFound, match="birthmark-auditor verify"):
        reading.as_of()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 6")
    connection.close()
    with pytest.raises(ConfigError, match="birthmark-auditor verify"), Reading.open(tmp_path):
        pass
    (tmp_path / FILE).write_bytes(b"no database" * 1_000)
    with pytest.raises(ConfigError, match="verify anew"), Reading.open(tmp_path):
        pass


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """From 08:00 on, an hour apart, by pc1: 1 stamped at once, 2 stamped 5 h later, 3 by pc2 at once, 4 not,
    5 revoked, 6 stamped and revoked."""
    log = opened(quantity=9, now=datetime(2026, 11, 10, 8, tzinfo=UTC))
    log.add_station(OTHER)
    log.open_order("WO-2", stations=[OTHER, STATION], quantity=9)
    boards = []
    for number in range(1, 7):
        log.now = datetime(2026, 11, 10, 8 + number, tzinfo=UTC)
        serial = {"work_order": "WO-2", "serial_number": f"WO-2-{number:06d}"}
        boards.append(members_of(log, add(log, number, stamped=number in {1, 6}, **serial)))
        if number == 3:
            add_stamp(log, boards[2], station=OTHER)
    add_stamp(log, boards[1])  # at 14:00
    add_revocation(log, boards[4])
    add_revocation(log, boards[5])
    made = Asked(tmp_path_factory.mktemp("line"), log)
    made.verify()
    return made


@pytest.mark.parametrize(
    ("words", "boards"),
    [
        (["plant1/pc1", "--from", "2026-11-10", "--to", "2026-11-10"], [1, 2, 3, 4, 5, 6]),
        (["plant1/pc1", "--to", "2026-11-09"], []),
        (["plant1/pc1", "--from", "2026-11-10T10:00:00Z", "--to", "2026-11-10T11:30:00Z"], [2, 3]),
        (["plant1/pc1", "--from", "2026-11-10T14:00:00Z"], [6, 2]),  # 2 was stamped then, 5 h after
        (["plant1/pc1", "--from", "2026-11-10T09:00:01Z", "--to", "2026-11-10T09:30:00Z"], [1]),
        (["plant1/pc2"], [3]),
        (["plant1/pc1", "--firmware", "app=9"], []),
    ],
)
def test_doubt_names_what_the_station_had_in_hand_then(
    line: Asked, words: list[str], boards: list[int]
) -> None:
    found = line.lines("doubt", *words)
    assert [row["number"] for row in found] == boards
    assert [int(row["number"]) for row in line.table("doubt", *words)] == boards


def test_doubt_says_what_is_to_do_with_each_board(line: Asked) -> None:
    rows = {row["number"]: row for row in line.lines("doubt", "plant1/pc1")}
    assert {number: row["to_do"] for number, row in rows.items()} == {
        1: "recall", 2: "recall", 3: "recall", 4: "hold", 5: "none", 6: "none",
    }  # fmt: skip
    assert rows[1]["handled"] == ["certificate", "stamp"]
    assert rows[3]["handled"] == ["certificate"]
    assert rows[3]["stamped_by"] == OTHER
    assert [row["handled"] for row in line.lines("doubt", "plant1/pc2")] == [["stamp"]]


def test_doubt_is_about_a_station_that_was_registered(line: Asked) -> None:
    done = CliRunner().invoke(app, ["doubt", "plant1/pc9", "-c", str(line.config)])
    assert isinstance(done.exception, NotFound)
    back = ["doubt", "plant1/pc1", "--from", "2026-11-11", "--to", "2026-11-10", "-c", str(line.config)]
    assert CliRunner().invoke(app, back).exit_code == 2


def test_a_board_is_named_once_however_its_stamp_came(tmp_path: Path) -> None:
    """Both searches of `doubt` together have each board once: every age of a stamp around an hour."""
    log = opened(quantity=40)
    log.add_station(OTHER)
    log.open_order("WO-2", stations=[OTHER, STATION], quantity=40)
    start = datetime(2026, 11, 10, 8, tzinfo=UTC)
    for number in range(1, 31):
        log.now = start + timedelta(seconds=number * 3)
        serial = {"work_order": "WO-2", "serial_number": f"WO-2-{number:06d}", "time": text(log.now)}
        board = members_of(log, add(log, number, stamped=False, **serial))
        stamped = log.now + timedelta(seconds=3_600 + number - 15)
        add_stamp(log, board, station=(STATION, OTHER)[number % 2], time=text(stamped))
    made = Asked(tmp_path, log)
    made.verify()
    for first, last in ((0, 3_700), (30, 31), (3_600, 3_700), (3_630, 3_640)):
        begin, end = start + timedelta(seconds=first), start + timedelta(seconds=last)
        wanted = set()
        for number in range(1, 31):
            issued = start + timedelta(seconds=number * 3)
            stamped = issued + timedelta(seconds=3_600 + number - 15)
            if begin <= issued <= end or (number % 2 == 0 and begin <= stamped <= end):
                wanted.add(number)
        found = made.lines("doubt", "plant1/pc1", "--from", text(begin), "--to", text(end))
        assert sorted(row["number"] for row in found) == sorted(wanted)
