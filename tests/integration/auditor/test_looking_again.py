"""A past that is doctored after it was verified: found within the number of runs that the manual states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer import Exit

from auditor.cli.app import _exit_of, _is_news
from auditor.cli.options import ACKNOWLEDGED, FINDINGS
from auditor.ports import Acknowledgement
from auditor.verify import Report
from birthmark.v1 import audit_pb2, signing_pb2
from harness.audit_bench import LATER, Bench, bench, opened
from harness.paper_log import ORDER, PaperLog

BOARDS, SHARE = 12, 0.25
RUNS, RUNS_OF_REMOVED = 4, 8  # 1 / SHARE, and two rounds


@pytest.fixture
def verified(tmp_path: Path) -> Iterator[Bench]:
    log = opened(quantity=BOARDS)
    log.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        log.stamp(log.issue(number))
    with bench(log, tmp_path, share=SHARE) as made:
        assert made.verify().clean
        yield made


def _runs(made: Bench, most: int) -> list[str]:
    """Codes of what is found, within so many runs."""
    found: list[str] = []
    for _ in range(most):
        found += [finding.code.name for finding in made.verify().new]
    return found


def _removed_stamp(record: audit_pb2.Record) -> None:
    record.ClearField("stamp")
    record.ClearField("stamp_signature")
    record.state = audit_pb2.RECORD_STATE_ISSUED


def _another_certificate(record: audit_pb2.Record) -> None:
    record.certificate_der = record.certificate_der[:-1] + bytes([record.certificate_der[-1] ^ 1])


def _another_station(record: audit_pb2.Record) -> None:
    record.station = record.station.replace("pc1", "pc2")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_removed_stamp, "RECORD_STATE"),
        (_another_certificate, "CERTIFICATE_DIFFERS"),
        (_another_station, "RECORD_DIFFERS"),
    ],
)
@pytest.mark.parametrize("place", [0, BOARDS - 1])
def test_a_record_that_was_altered(
    verified: Bench, change: Callable[[audit_pb2.Record], None], code: str, place: int
) -> None:
    change(verified.log.records[place])
    counted = ["ORDER_TERMS"] if change is _removed_stamp else []  # by the order's counts, at once
    assert sorted(_runs(verified, RUNS)) == sorted([code, *counted])


def test_nothing_is_found_where_nothing_was_altered(verified: Bench) -> None:
    assert _runs(verified, RUNS_OF_REMOVED) == []


@pytest.mark.parametrize("place", [0, 5, BOARDS - 1])
def test_a_record_that_was_removed(verified: Bench, place: int) -> None:
    del verified.log.records[place]
    assert "ORDER_TERMS" in _runs(verified, 1)  # the order's counts
    assert "RECORD_MISSING" in _runs(verified, RUNS_OF_REMOVED)


def test_a_record_of_another_certificate_in_its_place(verified: Bench) -> None:
    record = verified.log.records[3]
    other = verified.log.records[4]
    record.certificate_der = other.certificate_der
    assert _runs(verified, RUNS) == ["CERTIFICATE_DIFFERS"]


@pytest.mark.parametrize("index", [0, 9, 29])
def test_an_entry_that_is_handed_over_otherwise(verified: Bench, index: int) -> None:
    def change(entries: list[bytes]) -> list[bytes]:
        entries[index] = entries[index].replace(b"2026-11", b"2026-12")
        return entries

    verified.log.lie_entries = change
    reports = [verified.verify() for _ in range(RUNS)]
    found = [finding for report in reports for finding in report.new]
    assert [(finding.code.name, finding.index) for finding in found] == [("ENTRY_NOT_IN_TREE", index)]
    verified.log.lie_entries = lambda entries: entries
    assert not verified.verify().clean  # it stays


def _acknowledge_all(made: Bench) -> None:
    with made.state.transaction():
        for kept in made.state.findings():
            made.state.acknowledge(kept.number, Acknowledgement(b"known", b"", LATER))


def _exit_code(report: Report) -> int:
    with pytest.raises(Exit) as ended:
        _exit_of(report)
    return ended.value.exit_code


def test_an_altered_entry_keeps_nothing_else_from_being_looked_at(verified: Bench) -> None:
    def change(entries: list[bytes]) -> list[bytes]:
        entries[9] = entries[9].replace(b"2026-11", b"2026-12")
        return entries

    verified.log.lie_entries = change
    assert _runs(verified, RUNS) == ["ENTRY_NOT_IN_TREE"]
    _acknowledge_all(verified)
    report = verified.verify()
    assert (report.head is not None, _exit_code(report)) == (True, ACKNOWLEDGED)
    del verified.log.records[3]
    assert "RECORD_MISSING" in _runs(verified, RUNS_OF_REMOVED)


def test_a_run_that_verified_nothing_is_no_pass_whatever_was_said_of_why(verified: Bench) -> None:
    verified.log.lie_checkpoint = lambda _: verified.log.checkpoint(size=2)
    assert verified.verify().head is None
    _acknowledge_all(verified)
    report = verified.verify()
    assert (report.head, report.acknowledged, _is_news(report)) == (None, False, True)
    assert _exit_code(report) == FINDINGS


def test_new_boards_meanwhile_are_no_finding(verified: Bench) -> None:
    log: PaperLog = verified.log
    log.open_order("WO-2", quantity=8)
    for number in range(1, 9):
        log.issue(number, work_order="WO-2", chip=f"other-{number}")
        log.personalize(1)
        assert verified.verify().new == ()


def test_the_share_is_what_a_run_looks_at(verified: Bench) -> None:
    report = verified.verify()
    assert (report.again.records, report.records) == (BOARDS * SHARE, 0)
    assert report.again.entries > 0


def test_a_proof_that_is_one_bit_off_is_no_fork(verified: Bench) -> None:
    verified.log.close_order()
    verified.log.lie_proof = lambda hashes: [*hashes[:-1], bytes([hashes[-1][0] ^ 1]) + hashes[-1][1:]]
    (finding,) = verified.verify().new
    assert finding.code.name == "PROOF_MALFORMED"
    verified.log.lie_proof = lambda hashes: hashes
    assert verified.verify().new == ()


def test_a_fork_has_both_signed_checkpoints(verified: Bench) -> None:
    past = verified.log.entries
    verified.log.tree, verified.log.entries = type(verified.log.tree)(), []
    for index, data in enumerate(past):
        verified.log.append_raw(data.replace(b"2026-11", b"2026-10") if index == 9 else data)
    verified.log.close_order()
    (finding,) = verified.verify().new
    assert finding.code.name == "FORK"
    assert "—" in finding.expected
    assert "—" in finding.found


def _reopened(order: audit_pb2.WorkOrder) -> None:
    order.state = audit_pb2.WORK_ORDER_STATE_OPEN


def _larger(order: audit_pb2.WorkOrder) -> None:
    order.quantity += 1


def _weaker(order: audit_pb2.WorkOrder) -> None:
    order.level = signing_pb2.EVIDENCE_LEVEL_NONE


@pytest.mark.parametrize("change", [_reopened, _larger, _weaker])
def test_an_order_that_was_altered_is_found_in_the_next_run(
    verified: Bench, change: Callable[[audit_pb2.WorkOrder], None]
) -> None:
    verified.log.close_order()
    assert verified.verify().clean
    change(verified.log.orders[ORDER])
    assert _runs(verified, 1) == ["ORDER_TERMS"]


def test_an_order_that_is_closed_since_is_no_finding(verified: Bench) -> None:
    verified.log.orders[ORDER].state = audit_pb2.WORK_ORDER_STATE_CLOSED
    assert _runs(verified, 2) == []


def test_an_order_that_is_gone_is_found_in_the_next_run(verified: Bench) -> None:
    del verified.log.orders[ORDER]
    assert "ORDER_TERMS" in _runs(verified, 1)
