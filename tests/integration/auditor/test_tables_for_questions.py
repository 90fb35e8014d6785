"""What the state keeps for questions: small, whole or not at all, and the same however a run was cut up."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from auditor.adapters.state import FILE, MARKS, SqliteState
from auditor.core.entry import parse_entry
from auditor.core.history import apply
from harness import many_boards
from harness.audit_bench import opened, pinned
from harness.many_boards import add, add_refusal, add_revocation, add_stamp, chip, keep, members_of
from harness.paper_log import STATION, PaperLog

OTHER = STATION.replace("pc1", "pc2")
MOST_BYTES = 300  # a board


@pytest.fixture(scope="module")
def log() -> PaperLog:
    """Boards, stamps by another station and days later, refusals and revocations, in a mixture."""
    made = opened(quantity=40)
    made.personalize(40)
    made.add_station(OTHER)
    made.open_order("WO-2", quantity=40, stations=[STATION, OTHER])
    waiting: list[dict[str, Any]] = []
    for number in range(1, 31):
        made.now += timedelta(hours=3)
        names: dict[str, Any] = {
            "work_order": "WO-2",
            "serial_number": f"WO-2-{number:06d}",
            "station": (STATION, OTHER)[number % 2],
        }
        waiting.append(members_of(made, add(made, number, stamped=False, **names)))
        if number % 4 == 0:
            add_refusal(made, count=number, chip_id=chip(number + 1), work_order="WO-2")
        if number % 3 == 0:
            add_stamp(made, waiting.pop(0), station=STATION)
        if number % 7 == 0:
            add_revocation(made, waiting.pop(0))
    return made


def contents(directory: Path) -> dict[str, list[Any]]:
    """Rows with words in place of their numbers, which depend on when each was met first."""
    words = "SELECT id, word FROM words"
    with sqlite3.connect(directory / FILE) as db:
        known: dict[int, str] = dict(db.execute(words).fetchall())
        found = {
            "tallies": [
                (known[station], day, known[order], known[kind], *counts)
                for station, day, order, kind, *counts in db.execute("SELECT * FROM tallies")
            ],
            "refusals": [
                (known[peer], day, known[order], known[code], count)
                for peer, day, order, code, count in db.execute("SELECT * FROM refusals")
            ],
            "refused_chips": db.execute("SELECT chip_id, idx, at, count FROM refused_chips").fetchall(),
            "acts": db.execute("SELECT idx, at, about FROM acts").fetchall(),
            "orders": db.execute("SELECT opened_index, counts FROM orders").fetchall(),
        }
    db.close()
    return {name: sorted(rows) for name, rows in found.items()}


def test_chunks_of_any_size_add_up_to_the_same(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(log, tmp_path / "whole")
    monkeypatch.setattr(many_boards, "CHUNK", 3)
    keep(log, tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    tallies = contents(tmp_path / "cut")["tallies"]
    kinds = [members_of(log, index)["type"] for index in range(len(log.entries))]
    assert sum(row[4] for row in tallies) == kinds.count("issued") == 30
    assert sum(row[5] for row in tallies) == sum(row[7] for row in tallies) == kinds.count("stamped")
    assert sum(row[6] for row in tallies) == kinds.count("revoked")


def test_a_transaction_that_dies_counts_nothing(log: PaperLog, tmp_path: Path) -> None:
    """A crash within it leaves the counts of before; the entries are entered again, and counted once."""
    trust = pinned(log).trust
    with SqliteState.open(tmp_path / "state") as state:
        state.read_entry = lambda index: log.entries[index]

        def half() -> None:
            with state.transaction():
                for index, data in enumerate(log.entries[: len(log.entries) // 2]):
                    entry = parse_entry(data)
                    state.add_entry(index, entry.type, data)
                    apply(state, index, entry, data=data, trust=trust)
                state.write_rows()  # they are in the database, and not committed
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            half()
    assert not any(contents(tmp_path / "state").values())
    keep(log, tmp_path / "state")
    keep(log, tmp_path / "whole")
    assert contents(tmp_path / "state") == contents(tmp_path / "whole")


def test_from_scratch_they_are_made_anew(log: PaperLog, tmp_path: Path) -> None:
    keep(log, tmp_path)
    before = contents(tmp_path)
    with SqliteState.open(tmp_path) as state, state.transaction():
        state.forget()
    assert not any(contents(tmp_path).values())
    keep(log, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.check
def test_the_state_of_a_board_is_small(tmp_path: Path) -> None:
    """With all that is for questions; a million boards take less each (`test_questions_of_a_million.py`)."""
    boards = 8_000
    made = opened(quantity=boards)
    made.personalize(boards)
    for number in range(1, boards + 1):
        add(made, number)
    keep(made, tmp_path)
    size = (tmp_path / FILE).stat().st_size + sum(
        file.stat().st_size for file in (tmp_path / MARKS).iterdir()
    )
    assert size / boards < MOST_BYTES
