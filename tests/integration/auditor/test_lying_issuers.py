"""Issuers in succession, as an auditor sees them: an honest story is clean, and each lie is one finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harness.audit_bench import bench, opened, pinned
from harness.paper_certificates import Authority, der
from harness.paper_log import ORDER, PaperLog


def succession(log: PaperLog) -> Authority:
    """Board 1 by the first issuer, board 2 by the second."""
    log.issue(1)
    issuer = log.add_issuer("next")
    log.change_issuer("issuer_activated", "next", issuer)
    log.issue(2, authority=issuer)
    return issuer


def test_an_honest_succession(tmp_path: Path) -> None:
    log = opened()
    issuer = succession(log)
    log.change_issuer("issuer_retired", "main", log.issuer)
    last = log.add_issuer("last")
    log.change_issuer("issuer_activated", "last", last)
    log.issue(3, authority=last)
    log.change_issuer("issuer_activated", "next", issuer)  # and back again
    log.issue(4, authority=issuer)
    with bench(log, tmp_path) as made:
        assert made.codes() == []
        assert made.verify().records == 0  # each was checked once
        assert made.verify(from_scratch=True).records == 4


def test_across_runs_and_below_another_root(tmp_path: Path) -> None:
    log, root = opened(), Authority.root("Another Paper Root")
    log.issue(1)
    with bench(log, tmp_path / "unpinned") as made:
        assert made.codes() == []
    issuer = log.add_issuer("next", root=root)
    log.change_issuer("issuer_activated", "next", issuer)
    log.issue(2, authority=issuer)
    with bench(log, tmp_path / "unpinned") as made:
        assert [code for code, _ in made.codes()] == ["LOG_IDENTITY", "CERTIFICATE_CHAIN"]
    with bench(log, tmp_path / "pinned") as made:
        digests = frozenset(sha256(der(each.certificate)).hexdigest() for each in (log.root, root))
        both = pinned(log)
        trust = replace(both.trust, roots=digests)
        made.audit._pinned = replace(both, roots=(log.root.certificate, root.certificate), trust=trust)
        assert made.codes() == []


def _before_it_is_active(log: PaperLog) -> int:
    log.issue(1)
    issuer = log.add_issuer("next")
    log.issue(2, authority=issuer)
    return len(log.entries) - 1


def _after_another_took_over(log: PaperLog) -> int:
    succession(log)
    log.issue(3)
    return len(log.entries) - 1


def _never_announced(log: PaperLog) -> int:
    log.issue(1)
    issuer = log.root.subordinate("Paper Sub-CA unknown")
    log.further.append(issuer)
    log.issue(2, authority=issuer)
    return len(log.entries) - 1


def _of_another_ca(log: PaperLog) -> int:
    log.issue(1)
    issuer = log.add_issuer("lamps-1", ca="lamps")
    log.change_issuer("issuer_activated", "lamps-1", issuer, ca="lamps")
    log.issue(2, authority=issuer)
    return len(log.entries) - 1


@pytest.mark.parametrize(
    "lie", [_before_it_is_active, _after_another_took_over, _never_announced, _of_another_ca]
)
def test_a_certificate_of_an_issuer_that_may_not(tmp_path: Path, lie: Callable[[PaperLog], int]) -> None:
    log = opened()
    index = lie(log)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("CERTIFICATE_CHAIN", index)]


def _name_twice(log: PaperLog) -> int:
    log.add_issuer("next")
    log.add_issuer("next")
    return len(log.entries) - 1


def _certificate_twice(log: PaperLog) -> int:
    log.add_issuer("next", certificate_sha256=sha256(der(log.issuer.certificate)).hexdigest())
    return len(log.entries) - 1


def _activated_unannounced(log: PaperLog) -> int:
    return log.change_issuer("issuer_activated", "next", log.issuer)


def _activated_with_another_certificate(log: PaperLog) -> int:
    log.add_issuer("next")
    return log.change_issuer("issuer_activated", "next", log.issuer)


def _activated_for_another_ca(log: PaperLog) -> int:
    issuer = log.add_issuer("next")
    return log.change_issuer("issuer_activated", "next", issuer, ca="lamps")


def _activated_twice(log: PaperLog) -> int:
    return log.change_issuer("issuer_activated", "main", log.issuer)


def _retired_while_active(log: PaperLog) -> int:
    return log.change_issuer("issuer_retired", "main", log.issuer)


def _activated_after_it_was_retired(log: PaperLog) -> int:
    issuer = log.add_issuer("next")
    log.change_issuer("issuer_retired", "next", issuer)
    return log.change_issuer("issuer_activated", "next", issuer)


def abandon(log: PaperLog, issuer: str, successor: str, **changes: str) -> int:
    members = {"work_order": ORDER, "chip_id": "chip-1", "serial_number": f"{ORDER}-000001", "number": 1}
    digests = {"tbs_sha256": "11" * 32, "certificate_serial": "0123"}
    return log.append(
        "intent_abandoned", **members | digests | {"issuer": issuer, "successor": successor} | changes
    )


def _abandoned_although_it_is_active(log: PaperLog) -> int:
    log.add_issuer("next")
    return abandon(log, "main", "next")


def _abandoned_for_one_of_another_ca(log: PaperLog) -> int:
    issuer = log.add_issuer("lamps-1", ca="lamps")
    log.change_issuer("issuer_activated", "lamps-1", issuer, ca="lamps")
    return abandon(log, "main", "lamps-1")


def _abandoned_for_one_that_is_unknown(log: PaperLog) -> int:
    return abandon(log, "main", "next")


@pytest.mark.parametrize(
    "lie",
    [
        _name_twice,
        _certificate_twice,
        _activated_unannounced,
        _activated_with_another_certificate,
        _activated_for_another_ca,
        _activated_twice,
        _retired_while_active,
        _activated_after_it_was_retired,
        _abandoned_although_it_is_active,
        _abandoned_for_one_of_another_ca,
        _abandoned_for_one_that_is_unknown,
    ],
)
def test_a_history_of_issuers_that_is_none(tmp_path: Path, lie: Callable[[PaperLog], int]) -> None:
    log = opened()
    index = lie(log)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("ISSUER_HISTORY", index)]


def test_an_intent_of_an_unknown_order(tmp_path: Path) -> None:
    log = opened()
    issuer = log.add_issuer("next")
    log.change_issuer("issuer_activated", "next", issuer)
    assert abandon(log, "main", "next")
    index = abandon(log, "main", "next", work_order="WO-OTHER")
    with bench(log, tmp_path) as made:
        assert made.codes() == [("ORDER_UNKNOWN", index)]
