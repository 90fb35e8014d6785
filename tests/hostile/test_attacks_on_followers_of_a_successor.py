"""Who has both keys of a succession, and more in mind than a loss: auditors that follow it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from auditor.core.codes import Code
from auditor.core.growth import BUNDLE
from auditor.errors import Unreachable
from auditor.verify import Report
from harness.audit_bench import bench, opened
from harness.paper_certificates import Authority
from harness.paper_log import PaperLog, honest
from harness.paper_succession import succeed

CA = Authority.root("Operations")
LEFT = 300  # entries: one bundle whole, of which a state keeps the hash


def refused(log: PaperLog) -> None:
    """An entry of which an auditor keeps no copy."""
    log.append(
        "refused", peer=None, call="SignCsr", code="unknown_peer", count=1, work_order=None, chip_id=None,
        csr_sha256=None,
    )  # fmt: skip


def grown(entries: int) -> PaperLog:
    log = opened()
    while log.tree.size < entries:
        refused(log)
    return log


def other_at(index: int) -> Callable[[list[bytes]], list[bytes]]:
    """One entry is another, of the same form."""

    def change(entries: list[bytes]) -> list[bytes]:
        entries[index] = entries[index].replace(b'"count":1', b'"count":2', 1)
        return entries

    return change


def after_a_loss(
    state: Path, left: int, rewritten: Callable[[list[bytes]], list[bytes]] = honest
) -> tuple[Report, Report]:
    """What an auditor of 600 entries says of the successor, twice."""
    log = grown(600)
    with bench(log, state, cas=(CA.certificate,)) as made:
        assert made.verify().clean
        succeed(log, CA, left, rewritten=rewritten)
        log.now += timedelta(hours=1)
        refused(log)
        return made.verify(), made.verify()


def codes(report: Report) -> list[Code]:
    return [finding.code for finding in report.new]


def test_an_honest_successor_is_followed(tmp_path: Path) -> None:
    first, second = after_a_loss(tmp_path, LEFT)
    assert codes(first) == [Code.LOG_SUCCEEDED]
    assert second.head is not None
    assert codes(second) == []


@pytest.mark.parametrize("index", [100, 255])
def test_a_loss_does_not_hide_that_the_rest_was_rewritten(tmp_path: Path, index: int) -> None:
    for report in after_a_loss(tmp_path, LEFT, other_at(index)):
        assert report.head is None  # and the state is that of before
        (found,) = [item.finding for item in report.findings]
        assert found.code is Code.SUCCESSION_HISTORY
        assert f"among the first {BUNDLE}" in found.detail


def small() -> PaperLog:
    """Of less than a bundle: of its entries no hash is kept."""
    log = opened()
    boards = [log.issue(number) for number in (1, 2)]
    log.stamp(boards[0])
    log.revoke(boards[1])
    while log.tree.size < 60:
        refused(log)
    return log


def of_type(kind: bytes, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """The first entry of a type is another."""

    def change(entries: list[bytes]) -> list[bytes]:
        at = next(index for index, data in enumerate(entries) if b'"type":"%b"' % kind in data)
        assert old in entries[at]
        entries[at] = entries[at].replace(old, new, 1)
        return entries

    return change


def left_out(kind: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """An entry of which no copy is kept, in the place of the first of a type."""

    def change(entries: list[bytes]) -> list[bytes]:
        at = next(index for index, data in enumerate(entries) if b'"type":"%b"' % kind in data)
        other = next(data for data in entries if b'"type":"refused"' in data)
        entries[at] = other.replace(b'"count":1', b'"count":3')
        return entries

    return change


@pytest.mark.parametrize(
    "rewritten",
    [
        of_type(b"order_opened", b'"quantity":4', b'"quantity":9'),
        of_type(b"station_added", b'"spki_sha256":"', b'"spki_sha256":"0'),
        of_type(b"issued", b'"certificate_sha256":"', b'"certificate_sha256":"0'),
        of_type(b"stamped", b'"certificate_sha256":"', b'"certificate_sha256":"0'),
        left_out(b"issued"),
        left_out(b"order_opened"),
    ],
    ids=["order", "station", "certificate", "stamp", "a board left out", "an order left out"],
)
def test_of_the_last_entries_before_a_loss_too(
    tmp_path: Path, rewritten: Callable[[list[bytes]], list[bytes]]
) -> None:
    def fitting(entries: list[bytes]) -> list[bytes]:
        """Digests have 64 digits."""
        return [
            re.sub(rb'("[a-z_]*sha256":"0[0-9a-f]{63})[0-9a-f]"', rb'\1"', data)
            for data in rewritten(entries)
        ]

    for rewrite, expected in ((fitting, Code.SUCCESSION_HISTORY), (honest, Code.LOG_SUCCEEDED)):
        log = small()
        with bench(log, tmp_path / expected.value, cas=(CA.certificate,)) as made:
            assert made.verify().clean
            succeed(log, CA, 30, rewritten=rewrite)
            assert codes(made.verify()) == [expected]


def test_an_auditor_of_two_trees_compares_the_one_that_is_left(tmp_path: Path) -> None:
    """A run from scratch was broken off: it has to pass through the older tree too."""
    log = grown(600)
    with bench(log, tmp_path, cas=(CA.certificate,), chunk=256) as made:
        assert made.verify().clean
        log.fail_at_entry = 520
        with pytest.raises(Unreachable):
            made.verify(from_scratch=True)
        log.fail_at_entry = None
        succeed(log, CA, LEFT, rewritten=other_at(100))
        report = made.verify()
    assert report.head is None
    assert codes(report) == [Code.SUCCESSION_HISTORY]


def test_who_pins_the_successor_needs_no_ca_of_then(tmp_path: Path) -> None:
    """docs/operations.md: once the operations CA that signed the succession is trusted no more."""
    log = grown(20)
    succeed(log, CA, 15)
    other = Authority.root("Of now").certificate
    for successor, expected in ((2, [Code.LOG_SUCCEEDED]), (1, [Code.SUCCESSION_HISTORY])):
        with bench(log, tmp_path / str(successor), cas=(other,), successor=successor) as made:
            assert codes(made.verify()) == expected
    succeed(log, CA, 15)
    with bench(log, tmp_path / "2", cas=(other,), successor=2) as made:
        assert codes(made.verify()) == [Code.SUCCESSION_HISTORY]


def test_a_state_of_before_follows_the_successor_that_is_pinned(tmp_path: Path) -> None:
    log = grown(20)
    with bench(log, tmp_path, cas=(CA.certificate,)) as made:
        assert made.verify().clean
    succeed(log, CA, 15)
    other = Authority.root("Of now").certificate
    with bench(log, tmp_path, cas=(other,)) as made:
        assert codes(made.verify()) == [Code.SUCCESSION_HISTORY]
    with bench(log, tmp_path, cas=(other,), successor=2) as made:
        report = made.verify()
    assert report.head is not None
    assert codes(report) == [Code.LOG_SUCCEEDED]


def test_a_later_succession_hides_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    log = grown(30)
    with bench(log, tmp_path, cas=(CA.certificate,)) as made:
        made.verify()
        succeed(log, CA, 20)
        assert codes(made.verify()) == [Code.LOG_SUCCEEDED]
        succeed(log, CA, 18, said=lambda known: [replace(known[0], size=25), *known[1:]])
        assert codes(made.verify()) == [Code.SUCCESSION_HISTORY]
