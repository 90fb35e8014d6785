"""`orders`, `stations` and `who`: what orders come to, how stations do, who did what."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli.app import app
from auditor.errors import NotFound
from harness.asked import Asked
from harness.audit_bench import opened
from harness.many_boards import add, add_refusal, add_revocation, add_stamp, members_of
from harness.paper_approvals import PEOPLE, PRODUCT, approve, ask, statement_of
from harness.paper_log import STATION

OTHER = STATION.replace("pc1", "pc2")
START = datetime(2026, 11, 10, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """WO-1 of 4: 1 stamped, 2 certified, 3 revoked; closed then; 2 stamped later. WO-2 of 2: nothing."""
    log = opened(now=START)
    add(log, 1)
    second = members_of(log, add(log, 2, stamped=False))
    third = members_of(log, add(log, 3))
    add_revocation(log, third, by="dave")
    add_refusal(log, count=7)
    add_refusal(log, code="order_closed", work_order="WO-9")  # of no order
    log.close_order()
    add_stamp(log, second)
    log.open_order("WO-2", quantity=2, product="sensor")
    made = Asked(tmp_path_factory.mktemp("orders"), log)
    made.verify()
    return made


COUNTS = (
    "ordered",
    "boards",
    "certificates",
    "stamped",
    "good",
    "missing",
    "revoked",
    "scrapped",
    "refused",
    "short",
)


def test_what_an_order_comes_to_now_and_came_to_at_its_close(asked: Asked) -> None:
    first, second = asked.lines("orders")
    assert [first[name] for name in COUNTS] == [4, 3, 3, 3, 2, 0, 1, 1, 7, 2]
    assert (first["state"], first["over"], second["state"], second["short"]) == ("closed", 0, "open", 2)
    (then,) = asked.lines("orders", "--at-close")
    assert [then[name] for name in COUNTS] == [4, 3, 3, 2, 1, 1, 1, 1, 7, 3]
    assert (then["closed_at"], then["opened_entry"]) == (first["closed_at"], first["opened_entry"])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--only", "open"], ["WO-2"]),
        (["--only", "closed"], ["WO-1"]),
        (["--only", "short"], ["WO-1", "WO-2"]),
        (["--only", "over"], []),
        (["--order", "WO-2"], ["WO-2"]),
        (["--product", "lock"], []),
    ],
)
def test_orders_are_chosen(asked: Asked, words: list[str], names: list[str]) -> None:
    assert [row["work_order"] for row in asked.lines("orders", *words)] == names
    assert [row["work_order"] for row in asked.table("orders", *words)] == names


def test_more_boards_than_ordered_are_over(tmp_path: Path) -> None:
    log = opened(quantity=1)
    for number in (1, 2):
        add(log, number)
    made = Asked(tmp_path, log)
    made.verify()
    (row,) = made.lines("orders", "--only", "over")
    assert (row["ordered"], row["boards"], row["over"], row["short"]) == (1, 2, 1, 0)


def test_an_order_that_is_not_there(asked: Asked) -> None:
    done = CliRunner().invoke(app, ["orders", "--order", "WO-9", "-c", str(asked.config)])
    assert isinstance(done.exception, NotFound)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Two stations for four days, 24 boards each a day, all stamped. On day 1, 9 of pc2 are not, and it is
    refused 11 times. On the last day none is stamped yet. A stranger is refused once."""
    log = opened(quantity=200, now=START)
    log.personalize(200)
    log.add_station(OTHER)
    log.open_order("WO-2", stations=[OTHER, STATION], quantity=200)
    number = 0
    for day in range(4):
        log.now = START + timedelta(days=day)
        for station in (STATION, OTHER):
            for board in range(24):
                number += 1
                stamped = day < 3 and not (day == 1 and station == OTHER and board < 9)
                serial = {"work_order": "WO-2", "serial_number": f"WO-2-{number:06d}", "station": station}
                add(log, number, stamped=stamped, **serial)
        if day == 1:
            add_refusal(log, peer=OTHER, count=11, work_order="WO-2")
            add_refusal(log, peer=None)
    made = Asked(tmp_path_factory.mktemp("stations"), log)
    made.verify()
    return made


def test_a_station_by_day(days: Asked) -> None:
    rows = days.lines("stations", "--station", "plant1/pc2")
    assert [(row["day"], row["certificates"], row["stamped"], row["yield"]) for row in rows] == [
        ("2026-11-10", 24, 24, 1.0),
        ("2026-11-11", 24, 15, 0.625),
        ("2026-11-12", 24, 24, 1.0),
        ("2026-11-13", 24, 0, 0.0),
    ]
    assert [(row["stamps"], row["refusals"], row["revoked"]) for row in rows[:2]] == [(24, 0, 0), (15, 11, 0)]


def test_outliers_are_days_that_are_unlike_all_others(days: Asked) -> None:
    rows = days.lines("stations", "--outliers")
    assert [(row["station"], row["day"], row["outlier"]) for row in rows] == [
        (OTHER, "2026-11-11", ["yield", "refusals"])
    ]
    assert len(days.lines("stations")) == 9  # eight days, and the stranger


@pytest.mark.parametrize(
    ("words", "certificates"),
    [
        (["--total", "--order", "WO-2"], {STATION: 96, OTHER: 96}),
        (["--total", "--order", "WO-1"], {None: 0}),
        (["--total", "--from", "2026-11-12", "--to", "2026-11-12"], {STATION: 24, OTHER: 24}),
        (["--total", "--method", "none"], {}),
        (["--total", "--firmware", "app=1.2.0"], {STATION: 96, OTHER: 96}),
    ],
)
def test_stations_in_total(days: Asked, words: list[str], certificates: dict[str | None, int]) -> None:
    rows = days.lines("stations", *words)
    assert {row["station"]: row["certificates"] for row in rows} == certificates
    if "--firmware" in words:
        assert {row["refusals"] for row in rows} == {None}  # a refusal says nothing of firmware


def test_counts_by_day_are_those_of_the_certificates(days: Asked) -> None:
    """What is added up entry by entry is what the rows say."""
    rows = days.lines("doubt", "plant1/pc2", "--from", "2026-11-11", "--to", "2026-11-11")
    (day,) = days.lines("stations", "--station", "plant1/pc2", "--from", "2026-11-11", "--to", "2026-11-11")
    assert day["certificates"] == len(rows)
    assert day["stamped"] == sum(row["state"] == "stamped" for row in rows)


def test_who_did_what_and_when(asked: Asked) -> None:
    rows = asked.lines("who")
    assert [row["act"] for row in rows] == [
        "log_opened", "station_added", "product_added", "chips_personalized", "order_opened", "revoked",
        "order_closed", "order_opened",
    ]  # fmt: skip
    by_dave = asked.lines("who", "--person", "dave")
    assert [(row["act"], row["about"], row["approved_by"]) for row in by_dave] == [
        ("revoked", "WO-1-000003 keyCompromise", [])
    ]
    assert [row["about"] for row in asked.lines("who", "--act", "order_opened")] == ["WO-1", "WO-2"]
    assert asked.lines("who", "--to", "2026-11-09") == []
    assert {row["findings"] for row in rows} == {0}
    done = CliRunner().invoke(app, ["who", "--person", "mallory", "-c", str(asked.config)])
    assert isinstance(done.exception, NotFound)


def test_who_approved_it_and_with_which_key(tmp_path: Path) -> None:
    log = opened()
    ask(log)
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", "carol")
    index = log.append("product_added", **PRODUCT, by="erin")
    log.append("product_added", **PRODUCT | {"product_sha256": "22" * 32}, by="ann")  # nobody approved it
    made = Asked(tmp_path, log)
    made.verify()
    first, row = made.lines("who", "--person", "carol", "--act", "product_added")
    assert (first["by"], first["approvals"]) == ("carol", [])
    assert (row["entry"], row["by"], row["approved_by"], row["findings"]) == (
        index,
        "erin",
        ["ann", "carol"],
        0,
    )
    blob = base64.b64decode(PEOPLE.signers["ann"].public_text.split()[1])
    fingerprint = base64.b64encode(sha256(blob).digest()).decode().rstrip("=")
    assert row["approvals"][0] == {"administrator": "ann", "key": f"SHA256:{fingerprint}", "entry": index - 1}
    both = made.lines("who", "--person", "ann", "--act", "product_added")
    assert [(line["by"], line["findings"]) for line in both] == [("erin", 0), ("ann", 1)]
    assert [line["about"] for line in made.lines("who", "--act", "action_approved")] == ["product_added"]
    assert [line["about"] for line in made.lines("who", "--act", "administrators_set")] == [
        "2 of ann bob carol"
    ]
