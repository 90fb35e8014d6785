"""Times that lie in the future, and clocks that an entry accepts: found while they mislead, and no longer."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from harness.audit_bench import LATER, bench, opened
from harness.paper_log import STATION, PaperLog, text

SECOND = "birthmark://paper/station/plant1/pc2"
AHEAD = timedelta(days=2)


def accept(log: PaperLog, back: timedelta, *, before: datetime | None = None) -> int:
    """The clock is set right, and an entry says so."""
    before = before or log.now
    log.now -= back
    moment = log.now + timedelta(seconds=1)  # of the entry
    return log.append("clock_accepted", by="ann", clock_from=text(before), clock_to=text(moment))


def test_the_future_is_found_until_it_has_come(tmp_path: Path) -> None:
    log = opened()
    log.now = LATER + timedelta(hours=2)
    log.add_station(SECOND)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("TIME_ORDER", None)]
        assert made.codes() == [("TIME_ORDER", None)]  # as long as it is so
        made.audit._clock = lambda: LATER + timedelta(hours=3)
        assert made.verify().clean


def test_the_future_is_found_until_the_clock_was_set_right(tmp_path: Path) -> None:
    log = opened()
    log.now = LATER + timedelta(hours=2)
    log.add_station(SECOND)
    with bench(log, tmp_path) as made:
        assert not made.verify().clean
        accept(log, timedelta(hours=3))
        log.append("station_revoked", peer=SECOND)
        assert made.verify().clean
        assert made.verify(from_scratch=True).clean


def test_work_goes_on_after_a_clock_that_was_ahead(tmp_path: Path) -> None:
    log = opened()
    log.now += AHEAD
    log.stamp(log.issue(1))
    accept(log, AHEAD)
    log.stamp(log.issue(2))
    with bench(log, tmp_path) as made:
        assert made.verify().clean


def test_a_clock_that_goes_back_from_less_than_the_log_says_is_found(tmp_path: Path) -> None:
    log = opened()
    log.now += AHEAD
    log.add_station(SECOND)
    index = accept(log, AHEAD, before=log.now - timedelta(hours=1))
    with bench(log, tmp_path) as made:
        assert made.codes() == [("TIME_ORDER", index)]


def test_a_clock_that_is_accepted_at_another_time_is_found(tmp_path: Path) -> None:
    log = opened()
    other = log.now - timedelta(hours=1)
    index = log.append("clock_accepted", by="ann", clock_from=text(log.now), clock_to=text(other))
    with bench(log, tmp_path) as made:
        assert made.codes() == [("TIME_ORDER", index)]


def test_a_closed_order_is_not_open_again_because_the_clock_went_back(tmp_path: Path) -> None:
    log = opened()
    log.close_order()
    log.now += timedelta(hours=1)
    accept(log, timedelta(hours=2))
    log.now += timedelta(minutes=10)
    board = log.issue(1)
    with bench(log, tmp_path) as made:
        assert ("ORDER_NOT_OPEN", board.issued_index) in made.codes()


def test_a_revoked_station_does_not_work_again_because_the_clock_went_back(tmp_path: Path) -> None:
    log = opened()
    log.append("station_revoked", peer=STATION)
    log.now += timedelta(hours=1)
    accept(log, timedelta(hours=2))
    log.now += timedelta(minutes=10)
    board = log.issue(1)
    with bench(log, tmp_path) as made:
        assert ("STATION_NOT_ALLOWED", board.issued_index) in made.codes()


def test_an_intent_of_the_time_that_was_taken_back(tmp_path: Path) -> None:
    log = opened()
    log.now += AHEAD
    since = text(log.now)
    accept(log, AHEAD)
    log.append(
        "intent_open", work_order="WO-1", chip_id="chip-1", serial_number="P-1", number=1,
        tbs_sha256="00" * 32, since=since,
    )  # fmt: skip
    with bench(log, tmp_path) as made:
        codes = [code for code, _ in made.codes()]
        assert "TIME_ORDER" not in codes
