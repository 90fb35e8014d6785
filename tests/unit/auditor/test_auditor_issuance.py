"""The verdicts on `issued` entries, on values: what order, chip and station allow, and no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.lying_history import SECOND, none_with_level
from harness.paper_certificates import new_key, spki
from harness.paper_log import ORDER, PRODUCT, STATION, Board, PaperLog, text

MINUTES_5 = timedelta(seconds=300)  # what was under way when its order was closed may be entered so late
SKEW = timedelta(seconds=120)


def _read(log: PaperLog) -> list[tuple[str, int | None]]:
    return ValueAudit(log).read()


def _superseded(log: PaperLog, first: Board, **changes: Any) -> Board:
    """Another certificate of its chip, in place of the first."""
    key = new_key()
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    members: dict[str, Any] = {
        "key": key,
        "supersedes": first.certificate_sha256,
        "chip": first.record.chip_id,
    } | changes
    return log.issue(first.record.number, **members)


# The order


def test_an_order_is_filled_and_not_beyond() -> None:
    log = opened(quantity=2)
    log.issue(1)
    log.issue(2)
    audit = ValueAudit(log)
    assert audit.read() == []
    over = log.issue(3)
    assert audit.read() == [("OVER_QUANTITY", over.issued_index)]


def test_a_place_beyond_the_quantity_is_found_before_the_order_is_full() -> None:
    log = opened(quantity=2)
    assert _read(log) == []
    over = log.issue(3)
    assert _read(log) == [("OVER_QUANTITY", over.issued_index)]


@pytest.mark.parametrize(
    ("late", "codes"), [(MINUTES_5, []), (MINUTES_5 + timedelta(seconds=1), ["ORDER_NOT_OPEN"])]
)
def test_after_the_close_only_what_was_under_way(late: timedelta, codes: list[str]) -> None:
    log = opened()
    log.close_order()
    log.now += late - timedelta(seconds=1)  # `append` moves by a second
    log.issue(1)
    assert [code for code, _ in _read(log)] == codes


@pytest.mark.parametrize(("late", "codes"), [(MINUTES_5, []), (timedelta(hours=1), ["STATION_NOT_ALLOWED"])])
def test_after_its_station_was_revoked_only_what_was_under_way(late: timedelta, codes: list[str]) -> None:
    log = opened()
    log.append("station_revoked", peer=STATION)
    log.now += late - timedelta(seconds=1)
    log.issue(1)
    assert [code for code, _ in _read(log)] == codes


@pytest.mark.parametrize(("before", "codes"), [(SKEW, []), (SKEW + timedelta(seconds=2), ["ORDER_NOT_OPEN"])])
def test_before_the_window_only_what_the_clocks_allow(before: timedelta, codes: list[str]) -> None:
    log = opened()
    log.open_order("WO-2", not_before=text(log.now + timedelta(seconds=2) + before))
    log.issue(1, work_order="WO-2")
    assert [code for code, _ in _read(log)] == codes


def test_after_the_window_nothing() -> None:
    log = opened()
    log.open_order("WO-2", not_after=text(log.now + timedelta(hours=1)))
    log.issue(1, work_order="WO-2")
    audit = ValueAudit(log)
    assert audit.read() == []
    log.now += timedelta(hours=2)
    late = log.issue(2, work_order="WO-2")
    assert audit.read() == [("ORDER_NOT_OPEN", late.issued_index)]


def test_an_intent_that_a_crash_held_up_may_be_completed_late() -> None:
    log = opened()
    log.append(
        "intent_open", work_order=ORDER, chip_id=f"chip-{ORDER}-1", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now),
    )  # fmt: skip
    log.close_order()
    log.append("station_revoked", peer=STATION)
    log.now += timedelta(days=1)
    log.issue(1)
    audit = ValueAudit(log)
    assert audit.read() == []
    other = log.issue(2)
    assert sorted(audit.read()) == [
        ("ORDER_NOT_OPEN", other.issued_index),
        ("STATION_NOT_ALLOWED", other.issued_index),
    ]


@pytest.mark.parametrize(
    ("ordered", "entered", "codes"),
    [
        ("none", "chip", []),
        ("chip", "chip", []),
        ("chip", "key", []),
        ("key", "key", []),
        ("key", "chip", ["LEVEL"]),
    ],
)
def test_the_level_is_the_orders_or_above(ordered: str, entered: str, codes: list[str]) -> None:
    log = opened(level=ordered)
    log.issue(1, level=entered)
    assert [code for code, _ in _read(log)] == codes


# Level, method, attestation key and measured firmware


def test_no_evidence_and_no_level_belong_together() -> None:
    log = opened()
    index = none_with_level(log)
    assert _read(log) == [("LEVEL", index)]
    other = opened(level="none")
    level = other.issue(1, level="none")
    assert ("LEVEL", level.issued_index) in _read(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"attester_sha256": "00" * 32},
        {"measured": {"app": "1.2.0"}},
    ],
    ids=["a MAC with an attestation key", "a MAC that measures"],
)
def test_members_that_a_mac_cannot_have(changes: dict[str, Any]) -> None:
    log = opened()
    board = log.issue(1, **changes)
    assert _read(log) == [("LEVEL", board.issued_index)]


def _by_a_vendor(log: PaperLog, number: int, **changes: Any) -> Board:
    """A certificate whose entry says that a vendor's certified key signed."""
    attester = sha256(f"attester {number}".encode()).hexdigest()
    anchors = [["key", None, attester]]
    members: dict[str, Any] = {
        "method": "x509",
        "attester_sha256": attester,
        "anchors": anchors,
        "measured": {},
    }
    return log.issue(number, **members | changes)


def test_what_a_vendors_key_signs_is_measured_at_level_key_alone() -> None:
    log = opened()
    _by_a_vendor(log, 1, measured={"app": "1.2.0"})
    audit = ValueAudit(log)
    assert audit.read() == []
    chip = _by_a_vendor(log, 2, level="chip", measured={"app": "1.2.0"})
    assert audit.read() == [("LEVEL", chip.issued_index)]
    other = _by_a_vendor(log, 3, measured={"app": "1.3.0"})  # claimed is 1.2.0
    assert audit.read() == [("LEVEL", other.issued_index)]
    unsigned = _by_a_vendor(log, 4, attester_sha256=None)
    assert audit.read() == [("LEVEL", unsigned.issued_index)]


def test_an_attestation_key_is_one_chips() -> None:
    log = opened()
    first = _by_a_vendor(log, 1)
    audit = ValueAudit(log)
    assert audit.read() == []
    key = sha256(b"attester 1").hexdigest()
    other = log.issue(
        2, method="x509", attester_sha256=key, anchors=[["key", None, sha256(b"another").hexdigest()]]
    )
    assert audit.read() == [("ATTESTER", other.issued_index)]
    assert first.issued_index < other.issued_index


# Places, serial numbers, keys


def test_a_place_keeps_its_chip_and_its_serial_number() -> None:
    log = opened(reissue="always")
    log.issue(2)
    log.issue(1)
    first = log.issue(3)
    _superseded(log, first)
    audit = ValueAudit(log)
    assert audit.read() == []
    moved = _superseded(log, log.issue(4), chip="another")
    assert {code for code, index in audit.read() if index == moved.issued_index} >= {"NUMBER"}


@pytest.mark.parametrize(
    ("serial_number", "codes"),
    [
        (f"{ORDER}-000001", []),
        (f"{ORDER}-000002", ["SERIAL_NUMBER"]),
        (f"{ORDER}-1", ["SERIAL_NUMBER"]),
        ("WO-2-000001", ["SERIAL_NUMBER"]),
    ],
)
def test_the_serial_number_is_that_of_the_place(serial_number: str, codes: list[str]) -> None:
    log = opened()
    log.issue(1, serial_number=serial_number)
    assert [code for code, _ in _read(log)] == codes


def test_serial_numbers_begin_where_the_order_says() -> None:
    log = opened()
    log.open_order("WO-2", serial_start=500)
    log.issue(1, work_order="WO-2", serial_number="WO-2-000500")
    audit = ValueAudit(log)
    assert audit.read() == []
    wrong = log.issue(2, work_order="WO-2", serial_number="WO-2-000002")
    assert audit.read() == [("SERIAL_NUMBER", wrong.issued_index)]


@pytest.mark.parametrize("member", ["certificate_sha256", "certificate_serial", "challenge"])
def test_values_of_one_certificate_alone(member: str) -> None:
    log = opened()
    first = log.issue(1)
    value = {
        "certificate_sha256": first.certificate_sha256,
        "certificate_serial": "01",
        "challenge": first.record.challenge.hex(),
    }[member]
    changed: dict[str, Any] = {member: value}
    second = log.issue(2, **changed)
    assert _read(log) == [("VALUE_REUSED", second.issued_index)]


def test_a_key_is_certified_once_in_all_orders() -> None:
    log = opened()
    log.open_order("WO-2")
    first = log.issue(1)
    second = log.issue(1, work_order="WO-2", key=first.key)
    assert _read(log) == [("KEY_TWICE", second.issued_index)]


# One chip, one certificate


def _revoked(log: PaperLog, board: Board) -> None:
    log.revoke(board)


def _stamped_and_revoked(log: PaperLog, board: Board) -> None:
    log.stamp(board)
    log.revoke(board)


@pytest.mark.parametrize(
    ("reissue", "before", "codes"),
    [
        ("always", _revoked, []),
        ("always", _stamped_and_revoked, []),
        ("before-stamp", _revoked, []),
        ("before-stamp", _stamped_and_revoked, ["CHIP_TWICE"]),
        ("never", _revoked, ["CHIP_TWICE"]),
    ],
)
def test_a_chip_is_certified_again_as_its_order_allows(
    reissue: str, before: Callable[[PaperLog, Board], None], codes: list[str]
) -> None:
    log = opened(reissue=reissue)
    before(log, log.issue(1))
    log.issue(1)
    assert [code for code, _ in _read(log)] == codes


def test_a_second_certificate_while_the_first_counts() -> None:
    log = opened(reissue="always")
    log.issue(1)
    second = log.issue(1)
    assert _read(log) == [("CHIP_TWICE", second.issued_index)]


def test_a_successor_is_the_one_that_was_announced() -> None:
    log = opened(reissue="always")
    _superseded(log, log.issue(1))
    audit = ValueAudit(log)
    assert audit.read() == []
    other_key = log.issue(2)
    log.revoke(other_key, reason="superseded", superseded_by="00" * 32)
    wrong = log.issue(2, supersedes=other_key.certificate_sha256)
    assert audit.read() == [("CHIP_TWICE", wrong.issued_index)]


@pytest.mark.parametrize("supersedes", [None, "00" * 32], ids=["none", "another"])
def test_a_successor_says_what_it_supersedes(supersedes: str | None) -> None:
    log = opened(reissue="always")
    wrong = _superseded(log, log.issue(1), supersedes=supersedes)
    assert _read(log) == [("CHIP_TWICE", wrong.issued_index)]


def test_the_first_certificate_of_a_chip_supersedes_none() -> None:
    log = opened()
    wrong = log.issue(1, supersedes="00" * 32)
    assert _read(log) == [("CHIP_TWICE", wrong.issued_index)]


def test_a_chip_under_another_name_is_the_same_chip() -> None:
    """By its anchors."""
    log = opened()
    first = log.issue(1)
    log.open_order("WO-2")
    anchors = [["personalized", None, first.record.chip_id]]
    again = log.issue(1, work_order="WO-2", anchors=anchors)
    assert _read(log) == [("CHIP_TWICE", again.issued_index)]


def test_a_certificate_whose_chip_is_two_others() -> None:
    log = opened(quantity=9)
    both = [log.issue(number).record.chip_id for number in (1, 2)]
    anchors = sorted(["personalized", None, chip] for chip in both)
    odd = log.issue(3, anchors=anchors)
    assert ("ANCHOR_HISTORY", odd.issued_index) in _read(log)


# Counts


def test_no_more_chips_than_were_personalized() -> None:
    log = opened(quantity=20)  # of 10 chips
    for number in range(1, 11):
        log.issue(number)
    audit = ValueAudit(log)
    assert audit.read() == []
    uncounted = log.issue(11)
    assert audit.read() == [("CHIPS_UNCOUNTED", uncounted.issued_index)]


def test_no_more_chips_at_level_key_than_were_locked() -> None:
    log = opened(quantity=20)
    log.personalize(2, locked=False)
    for number in range(1, 11):
        log.issue(number)
    log.issue(11, level="chip")
    audit = ValueAudit(log)
    assert audit.read() == []
    unlocked = log.issue(12)
    assert audit.read() == [("CHIPS_UNCOUNTED", unlocked.issued_index)]


def test_no_more_chips_without_evidence_than_are_listed() -> None:
    log = opened(level="none")
    log.append("chips_imported", work_order=ORDER, count=1, chips_sha256="00" * 32)
    log.issue(1, method="none", level="none", anchors=[])
    audit = ValueAudit(log)
    assert audit.read() == []
    unlisted = log.issue(2, method="none", level="none", anchors=[])
    assert audit.read() == [("CHIPS_UNCOUNTED", unlisted.issued_index)]


def test_imported_keys_count_for_their_product_and_method() -> None:
    log = opened()
    log.import_identities("nrf91", 1)
    log.import_identities("psa-token", 9)
    log.append("product_added", product="other", product_sha256=log.product_sha256)
    log.import_identities("nrf91", 9, product="other")
    audit = ValueAudit(log)
    for number, codes in ((1, []), (2, ["CHIPS_UNCOUNTED"])):
        attester = sha256(f"modem {number}".encode()).hexdigest()
        anchors = [["imported", None, f"{number:032x}"], ["key", None, attester]]
        log.issue(number, method="nrf91", attester_sha256=attester, anchors=anchors, measured={})
        assert [code for code, _ in audit.read()] == codes


# The station


@pytest.mark.parametrize(
    ("listed", "registered", "codes"),
    [
        (True, True, []),
        (False, True, ["STATION_NOT_ALLOWED"]),
        (True, False, ["STATION_NOT_ALLOWED"]),
    ],
)
def test_the_station_is_listed_and_registered(listed: bool, registered: bool, codes: list[str]) -> None:
    log = opened()
    log.open_order("WO-2", stations=[SECOND] if listed else [STATION])
    if registered:
        log.add_station(SECOND)
    log.issue(1, work_order="WO-2", station=SECOND)
    assert [code for code, _ in _read(log)] == codes


def test_form_1_knows_chips_by_their_names() -> None:
    log = opened(form=1)
    log.issue(1)
    audit = ValueAudit(log)
    assert audit.read() == []
    again = log.issue(1)
    assert audit.read() == [("CHIP_TWICE", again.issued_index)]


def test_the_books_count_what_was_entered() -> None:
    log = opened()
    stamped, _ = log.issue(1), log.issue(2, level="chip")
    log.stamp(stamped)
    audit = ValueAudit(log)
    assert audit.read() == []
    totals, order = audit.state.totals, audit.state.order(ORDER)
    assert order is not None
    assert (order.places, order.certificates, order.highest, order.stamped) == (2, 2, 2, 1)
    assert (totals.certificates, totals.levels) == (2, {"key": 1, "chip": 1})
    assert audit.state.knows_product(PRODUCT)
