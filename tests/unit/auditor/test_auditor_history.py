"""The verdicts on a log's history, on values: what each rule allows, and a lie that differs in one thing.

Issuance, issuers, runs and approvals have files of their own: test_auditor_issuance.py, test_auditor_acts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from auditor.core.history import ahead
from auditor.core.log_keys import signers
from auditor.errors import Malformed
from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.lying_history import HONEST, LIES, SECOND, Story, add_ca, ca_step, commit_keys, renew
from harness.paper_log import ORDER, STATION, PaperLog, text

IN_ENTRIES = [(story, code) for story, code in LIES if story.__name__ != "_gap"]  # a gap shows at the end


def _found(story: Story) -> list[tuple[str, int | None]]:
    log = opened()
    story(log)
    return ValueAudit(log).read()


@pytest.mark.parametrize("story", HONEST)
def test_what_is_allowed_is_no_finding(story: Story) -> None:
    assert _found(story) == []


@pytest.mark.parametrize(("story", "code"), IN_ENTRIES, ids=[story.__name__[1:] for story, _ in IN_ENTRIES])
def test_each_lie_is_one_finding_at_its_entry(story: Story, code: str) -> None:
    log = opened()
    index = story(log)
    assert ValueAudit(log).read() == [(code, index)]


def test_a_log_that_is_read_in_two_runs_is_judged_as_in_one() -> None:
    for story, code in IN_ENTRIES:
        log = opened()
        audit = ValueAudit(log)
        assert audit.read() == []
        index = story(log)
        assert audit.read() == [(code, index)], story.__name__


def test_one_lie_is_one_finding_and_no_trail_of_them() -> None:
    """What was entered wrongly is entered, and what follows is judged by it."""
    log = opened(quantity=9)
    board = log.issue(1, product="other")
    log.stamp(board)
    log.revoke(board)
    assert ValueAudit(log).read() == [("ORDER_TERMS", board.issued_index)]


# What each rule allows: a lie of LIES is one change away.


def _renewals(log: PaperLog) -> None:
    log.add_station(SECOND)
    renew(log, SECOND)
    log.append("renewal_chosen", peer=SECOND, automatic=True)
    log.append("auditor_added", peer="birthmark://paper/auditor/alice", spki_sha256="00" * 32)
    log.append("auditor_revoked", peer="birthmark://paper/auditor/alice")


def _a_succession_of_operations_cas(log: PaperLog) -> None:
    add_ca(log)
    ca_step(log, "activated")
    ca_step(log, "retired", "02")  # the first one, which has no entry before
    add_ca(log, "03")
    ca_step(log, "activated", "03")
    ca_step(log, "retired")


def _an_operations_ca_taken_back(log: PaperLog) -> None:
    add_ca(log)
    ca_step(log, "retired")


def _recipients_come_and_go(log: PaperLog) -> None:
    commit_keys(log)
    commit_keys(log, recipients=["02" * 32, "03" * 32])
    commit_keys(log, recipients=["03" * 32])


def _keys_in_the_token(log: PaperLog) -> None:
    commit_keys(log, checkpoint="token", chip_master="none", chip_master_commitment=None, recipients=[])


def _an_order_with_a_bundle(log: PaperLog) -> None:
    log.open_order("WO-2", bundle_sha256="ab" * 32, firmware={"app": ["1.4.0", "00" * 32]})


def _an_order_with_shares(log: PaperLog) -> None:
    log.open_order("WO-2", quantity=4, shares={"one": 3, "two": 1})
    log.append("share_given", by="carol", work_order="WO-2", giver="one", taker="two", places=2)


def _another_revision_of_the_product(log: PaperLog) -> None:
    log.append("product_added", product="sensor", product_sha256="11" * 32)
    log.open_order("WO-2", product_sha256="11" * 32)


def _crl_numbers_that_rise(log: PaperLog) -> None:
    log.revoke(log.issue(1))
    for number, count in ((0, 0), (1, 1), (7, 1)):
        moment = text(log.now)
        log.append("crl_issued", crl_number=number, crl_sha256="00" * 32, next_update=moment, count=count)


def _shared_primes(log: PaperLog) -> None:
    boards = [log.issue(number) for number in (1, 2)]
    log.append("shared_primes_found", count=2, certificates=[board.certificate_sha256 for board in boards])


def _identities_of_a_product(log: PaperLog) -> None:
    log.import_identities("nrf91", 3)


def _an_intent_and_its_certificate(log: PaperLog) -> None:
    log.append(
        "intent_open", work_order=ORDER, chip_id=f"chip-{ORDER}-1", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now),
    )  # fmt: skip
    log.issue(1)


def _times_of_concurrent_calls(log: PaperLog) -> None:
    log.add_station(SECOND)
    log.now -= timedelta(seconds=100)
    log.append("station_revoked", peer=SECOND)


def _stamped_and_then_revoked(log: PaperLog) -> None:
    board = log.issue(1)
    log.stamp(board)
    log.revoke(board, reason="cessationOfOperation")


def _a_clock_that_went_back(log: PaperLog) -> None:
    ahead_by = timedelta(days=2)
    log.now += ahead_by
    log.add_station(SECOND)
    came_from = text(log.now)
    log.now -= ahead_by
    back = text(log.now + timedelta(seconds=1))  # `append` moves by a second
    log.append("clock_accepted", clock_from=came_from, clock_to=back)
    log.issue(1)


ALLOWED = [
    _renewals, _a_succession_of_operations_cas, _an_operations_ca_taken_back, _recipients_come_and_go,
    _keys_in_the_token, _an_order_with_a_bundle, _an_order_with_shares, _another_revision_of_the_product,
    _crl_numbers_that_rise, _shared_primes, _identities_of_a_product, _an_intent_and_its_certificate,
    _times_of_concurrent_calls, _stamped_and_then_revoked, _a_clock_that_went_back,
]  # fmt: skip


@pytest.mark.parametrize("story", ALLOWED, ids=lambda story: story.__name__[1:])
def test_each_rule_allows_what_it_is_for(story: Story) -> None:
    assert _found(story) == []


# Lies beside these


def _an_empty_window(log: PaperLog) -> int:
    return log.open_order("WO-2", not_before=text(log.now), not_after=text(log.now))


def _shares_that_are_not_the_quantity(log: PaperLog) -> int:
    return log.open_order("WO-2", quantity=4, shares={"one": 3, "two": 2})


def _no_rehearsal(log: PaperLog) -> int:
    return log.open_order("WO-2", rehearsed=False)


def _a_share_of_a_closed_order(log: PaperLog) -> int:
    log.open_order("WO-2", quantity=4, shares={"one": 4})
    log.close_order("WO-2")
    return log.append("share_given", by="carol", work_order="WO-2", giver="one", taker="two", places=2)


def _a_share_beyond_the_quantity(log: PaperLog) -> int:
    log.open_order("WO-2", quantity=4, shares={"one": 4})
    return log.append("share_given", by="carol", work_order="WO-2", giver="one", taker="two", places=5)


def _chips_for_an_unknown_order(log: PaperLog) -> int:
    return log.append("chips_imported", work_order="WO-9", count=1, chips_sha256="00" * 32)


def _an_intent_of_an_unknown_order(log: PaperLog) -> int:
    return log.append(
        "intent_open", work_order="WO-9", chip_id="chip", serial_number="WO-9-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now),
    )  # fmt: skip


def _an_intent_that_begins_after_its_entry(log: PaperLog) -> int:
    return log.append(
        "intent_open", work_order=ORDER, chip_id="chip", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now + timedelta(hours=1)),
    )  # fmt: skip


def _stamped_after_it_was_revoked(log: PaperLog) -> int:
    board = log.issue(1)
    log.revoke(board)
    return log.log_stamped(board, stamp_sha256="00" * 32)


def _stamped_by_a_station_that_is_not_listed(log: PaperLog) -> int:
    log.add_station(SECOND)
    return log.stamp(log.issue(1), station=SECOND)


def _stamped_on_another_order(log: PaperLog) -> int:
    return log.stamp(log.issue(1), work_order="WO-2")


def _stamped_under_another_serial_number(log: PaperLog) -> int:
    return log.stamp(log.issue(1), serial_number=f"{ORDER}-000002")


def _revoked_unissued(log: PaperLog) -> int:
    return log.revoke(log.issue(1), certificate_sha256="00" * 32)


def _revoked_under_another_chip(log: PaperLog) -> int:
    return log.revoke(log.issue(1), chip_id="another")


def _a_prime_of_no_certificate(log: PaperLog) -> int:
    return log.append("shared_primes_found", count=1, certificates=["00" * 32])


def _a_peer_revoked_twice(log: PaperLog) -> int:
    log.add_station(SECOND)
    log.append("station_revoked", peer=SECOND)
    return log.append("station_revoked", peer=SECOND)


def _a_chip_master_that_moved(log: PaperLog) -> int:
    commit_keys(log, chip_master="none", chip_master_commitment=None)
    return commit_keys(log, chip_master="token", chip_master_commitment=None)


def _a_clock_accepted_at_another_time(log: PaperLog) -> int:
    came_from, another = text(log.now + timedelta(hours=1)), text(log.now + timedelta(minutes=1))
    return log.append("clock_accepted", clock_from=came_from, clock_to=another)


def _a_clock_that_goes_back_from_another_time(log: PaperLog) -> int:
    log.now += timedelta(days=2)
    log.add_station(SECOND)
    log.now -= timedelta(days=2)
    here = text(log.now + timedelta(seconds=1))
    return log.append("clock_accepted", clock_from=here, clock_to=here)


def _administrators_who_do_not_reach_the_threshold(log: PaperLog) -> int:
    return log.append("administrators_set", threshold=1, administrators=[])


MORE_LIES: list[tuple[Callable[[PaperLog], int], str]] = [
    (_an_empty_window, "ORDER_HISTORY"),
    (_shares_that_are_not_the_quantity, "ORDER_HISTORY"),
    (_no_rehearsal, "ORDER_HISTORY"),
    (_a_share_of_a_closed_order, "ORDER_HISTORY"),
    (_a_share_beyond_the_quantity, "ORDER_HISTORY"),
    (_chips_for_an_unknown_order, "ORDER_UNKNOWN"),
    (_an_intent_of_an_unknown_order, "ORDER_UNKNOWN"),
    (_an_intent_that_begins_after_its_entry, "INTENT_HISTORY"),
    (_stamped_after_it_was_revoked, "STAMP_HISTORY"),
    (_stamped_by_a_station_that_is_not_listed, "STATION_NOT_ALLOWED"),
    (_stamped_on_another_order, "STAMP_HISTORY"),
    (_stamped_under_another_serial_number, "STAMP_HISTORY"),
    (_revoked_unissued, "REVOCATION_HISTORY"),
    (_revoked_under_another_chip, "REVOCATION_HISTORY"),
    (_a_prime_of_no_certificate, "SHARED_PRIMES_HISTORY"),
    (_a_peer_revoked_twice, "PEER_HISTORY"),
    (_a_chip_master_that_moved, "LOG_IDENTITY"),
    (_a_clock_accepted_at_another_time, "TIME_ORDER"),
    (_a_clock_that_goes_back_from_another_time, "TIME_ORDER"),
    (_administrators_who_do_not_reach_the_threshold, "APPROVAL"),
]


@pytest.mark.parametrize(("story", "code"), MORE_LIES, ids=[story.__name__[1:] for story, _ in MORE_LIES])
def test_each_further_lie_is_one_finding_at_its_entry(story: Callable[[PaperLog], int], code: str) -> None:
    log = opened()
    index = story(log)
    assert ValueAudit(log).read() == [(code, index)]


# Entry 0, and the end


@pytest.mark.parametrize("member", ["deployment", "origin", "vkey", "root_sha256"])
def test_entry_0_of_another_log(member: str) -> None:
    log = PaperLog()
    log.open_log(**{member: "00" * 32})
    assert ValueAudit(log).read() == [("LOG_IDENTITY", 0)]


def test_entry_0_is_log_opened_and_no_other() -> None:
    log = PaperLog()
    log.add_station()
    assert ("LOG_IDENTITY", 0) in ValueAudit(log).read()


def test_what_supersedes_nothing_yet_is_open_until_its_successor_comes() -> None:
    log = opened(reissue="always")
    first = log.issue(1)
    index = log.revoke(first, reason="superseded", superseded_by="00" * 32)
    audit = ValueAudit(log)
    assert audit.read() == [("REVOCATION_HISTORY", index)]
    log.issue(1, supersedes=first.certificate_sha256, spki_sha256="00" * 32)
    assert audit.read() == []


def test_superseded_for_another_reason() -> None:
    log = opened(reissue="always")
    first = log.issue(1)
    index = log.revoke(first, reason="keyCompromise", superseded_by="00" * 32)
    log.issue(1, supersedes=first.certificate_sha256, spki_sha256="00" * 32)
    assert ValueAudit(log).read() == [("REVOCATION_HISTORY", index)]


def test_a_log_that_is_ahead_of_our_clock_is_told_as_long_as_it_is() -> None:
    log = opened()
    audit = ValueAudit(log)
    assert ahead(audit.state, log.now) is None  # of no entries yet
    assert audit.read() == []
    assert ahead(audit.state, log.now) is None
    assert ahead(audit.state, log.now - timedelta(seconds=120)) is None
    found = ahead(audit.state, log.now - timedelta(seconds=121))
    assert found is not None
    assert (found.code.name, found.index) == ("TIME_ORDER", None)


def test_a_clock_that_went_back_takes_ends_back_with_it() -> None:
    """Or what was closed before would seem open again."""
    log = opened()
    log.now += timedelta(days=2)
    log.close_order()
    came_from = text(log.now)
    log.now -= timedelta(days=2)
    back = text(log.now + timedelta(seconds=1))
    log.append("clock_accepted", clock_from=came_from, clock_to=back)
    log.now += timedelta(hours=1)
    board = log.issue(1)
    assert ValueAudit(log).read() == [("ORDER_NOT_OPEN", board.issued_index)]


def test_the_keys_of_the_log_are_those_of_its_entries() -> None:
    log = opened()
    audit = ValueAudit(log)
    assert audit.read() == []
    assert [key.text() for key in signers(audit.state, audit.size)] == [_vkey(log)]
    assert STATION in log.entries[1].decode()


def _vkey(log: PaperLog) -> str:
    opened_entry = log.entries[0].decode()
    found = opened_entry.partition('"vkey":"')[2].partition('"')[0]
    if not found:
        raise Malformed("no vkey")
    return found
