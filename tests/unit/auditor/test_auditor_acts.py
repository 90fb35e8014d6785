"""The verdicts on acts of administrators and of signerd itself, on values: issuers, runs, approvals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.lying_history import Story
from harness.paper_approvals import PRODUCT, approve, ask, statement_of
from harness.paper_certificates import Authority
from harness.paper_log import ORDER, PaperLog


def _succession(log: PaperLog) -> None:
    log.issue(1)
    issuer = log.add_issuer("next")
    log.change_issuer("issuer_activated", "next", issuer)
    log.issue(2, authority=issuer)
    log.change_issuer("issuer_retired", "main", log.issuer)


def _abandon(log: PaperLog, **changes: str) -> int:
    members = {"work_order": ORDER, "chip_id": "chip-1", "serial_number": f"{ORDER}-000001", "number": 1}
    more = {"tbs_sha256": "11" * 32, "certificate_serial": "0123", "issuer": "main", "successor": "next"}
    return log.append("intent_abandoned", **members | more | changes)


def _abandoned_after_a_succession(log: PaperLog) -> None:
    log.change_issuer("issuer_activated", "next", log.add_issuer("next"))
    _abandon(log)


def _abandoned_although_its_issuer_is_active(log: PaperLog) -> int:
    log.add_issuer("next")
    return _abandon(log)


def _an_issuer_of_another_root(log: PaperLog) -> int:
    log.add_issuer("next", root=Authority.root("Another Paper Root"))
    return len(log.entries) - 1


def _an_issuer_activated_unannounced(log: PaperLog) -> int:
    return log.change_issuer("issuer_activated", "next", log.issuer)


def _start(log: PaperLog, run: str) -> int:
    nothing = {"upgraded_from": None, "backup_made": None, "backup_size": None}
    return log.append("signerd_started", run=run, version="1.0", schema="0011", **nothing)


def _runs(log: PaperLog) -> None:
    _start(log, "00" * 16)
    log.append("signerd_stopped", run="00" * 16)
    _start(log, "01" * 16)
    _start(log, "02" * 16)  # the one before has crashed


def _a_stop_without_a_start(log: PaperLog) -> int:
    _start(log, "00" * 16)
    return log.append("signerd_stopped", run="01" * 16)


def _two_starts_of_one_name(log: PaperLog) -> int:
    _start(log, "00" * 16)
    return _start(log, "00" * 16)


def _approved(log: PaperLog) -> None:
    ask(log)
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", "carol")
    log.append("product_added", **PRODUCT)
    log.issue(1)  # boards ask nobody


def _nobody_approved(log: PaperLog) -> int:
    ask(log)
    return log.append("product_added", **PRODUCT)


def _too_few_approved(log: PaperLog) -> int:
    ask(log)
    index = approve(log, statement_of(log, "product_added", PRODUCT), "ann")
    log.append("product_added", **PRODUCT)
    return index


def _something_else_was_approved(log: PaperLog) -> int:
    ask(log)
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", "carol")
    return log.append("product_added", **{**PRODUCT, "product_sha256": "22" * 32})


def _one_approval_for_two(log: PaperLog) -> int:
    _approved(log)
    statement = statement_of(log, "product_added", PRODUCT)
    approve(log, statement, "ann", "carol")
    log.append("product_added", **PRODUCT)
    again = approve(log, statement, "ann", "carol")
    log.append("product_added", **PRODUCT)
    return again


def _an_approval_that_nothing_followed(log: PaperLog) -> int:
    ask(log)
    return approve(log, statement_of(log, "product_added", PRODUCT), "ann", "carol")


def _an_approval_that_a_board_followed(log: PaperLog) -> int:
    index = _an_approval_that_nothing_followed(log)
    log.issue(1)
    return index


@pytest.mark.parametrize(
    "story",
    [_succession, _abandoned_after_a_succession, _runs, _approved],
    ids=lambda story: story.__name__[1:],
)
def test_successions_runs_and_approvals(story: Story) -> None:
    log = opened()
    story(log)
    assert ValueAudit(log).read() == []


ACTS: list[tuple[Callable[[PaperLog], int], str]] = [
    (_abandoned_although_its_issuer_is_active, "ISSUER_HISTORY"),
    (_an_issuer_of_another_root, "LOG_IDENTITY"),
    (_an_issuer_activated_unannounced, "ISSUER_HISTORY"),
    (_a_stop_without_a_start, "RUN_HISTORY"),
    (_two_starts_of_one_name, "RUN_HISTORY"),
    (_nobody_approved, "APPROVAL"),
    (_too_few_approved, "APPROVAL"),
    (_something_else_was_approved, "APPROVAL"),
    (_one_approval_for_two, "APPROVAL"),
    (_an_approval_that_nothing_followed, "APPROVAL"),
    (_an_approval_that_a_board_followed, "APPROVAL"),
]


@pytest.mark.parametrize(("story", "code"), ACTS, ids=[story.__name__[1:] for story, _ in ACTS])
def test_each_lie_about_these_is_one_finding(story: Callable[[PaperLog], int], code: str) -> None:
    log = opened()
    index = story(log)
    assert ValueAudit(log).read() == [(code, index)]


def test_an_intent_abandoned_on_an_unknown_order() -> None:
    log = opened()
    log.change_issuer("issuer_activated", "next", log.add_issuer("next"))
    index = _abandon(log, work_order="WO-9")
    assert ValueAudit(log).read() == [("ORDER_UNKNOWN", index)]
