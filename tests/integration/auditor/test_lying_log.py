"""A log that lies in its head, its tree or its answers: each lie changes one thing, and is one finding."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.errors import Unreachable
from birthmark.v1 import audit_pb2
from harness.audit_bench import Bench, bench, opened, small
from harness.paper_log import ORIGIN, PaperLog, note
from harness.paper_server import PaperService


@pytest.fixture
def honest(tmp_path: Path) -> Iterator[Bench]:
    with bench(small(), tmp_path) as made:
        yield made


def test_an_honest_log_is_clean_from_scratch_and_step_by_step(honest: Bench) -> None:
    report = honest.verify()
    assert report.clean
    assert (report.records, report.stamps, report.head and report.head.size) == (3, 2, 11)
    assert honest.verify().records == 0
    honest.log.stamp(honest.log.issue(4))
    honest.log.close_order()
    report = honest.verify()
    assert report.clean
    assert (report.start, report.records) == (11, 1)
    again = honest.verify(from_scratch=True)
    assert again.clean
    assert (again.start, again.records) == (0, 4)


def test_a_stamp_of_an_earlier_board_is_checked_when_it_comes(honest: Bench) -> None:
    honest.verify()
    board = honest.log.records[2]
    honest.log.add_station("birthmark://paper/station/plant1/pc2")
    assert honest.verify().records == 0
    board.stamp, board.stamp_signature = b"\x80", b""
    board.state = audit_pb2.RECORD_STATE_STAMPED
    board.stamped_index = honest.log.tree.size
    honest.log.append(
        "stamped",
        work_order="WO-1",
        chip_id=board.chip_id,
        serial_number=board.serial_number,
        certificate_sha256=sha256(board.certificate_der).hexdigest(),
        stamp_sha256="00" * 32,
        station=board.station,
    )
    assert honest.codes() == [("STAMP_FORM", board.issued_index)]


def _body(text: bytes) -> str:
    return text.rpartition(b"\n\n")[0].decode() + "\n"


def _checkpoint_lies() -> dict[str, tuple[Callable[[PaperLog, bytes], bytes], str]]:
    other = Ed25519PrivateKey.generate()
    return {
        "no signature": (lambda _log, text: text.partition("—".encode())[0], "CHECKPOINT_MALFORMED"),
        "another key": (lambda log, _text: log.checkpoint(key=other), "CHECKPOINT_SIGNATURE"),
        "a changed size": (lambda _log, text: text.replace(b"\n11\n", b"\n12\n"), "CHECKPOINT_SIGNATURE"),
        "a size with a sign": (
            lambda log, text: note(log.log_key, _body(text).replace("\n11\n", "\n+11\n")),
            "CHECKPOINT_MALFORMED",
        ),
        "a size with a zero before it": (
            lambda log, text: note(log.log_key, _body(text).replace("\n11\n", "\n011\n")),
            "CHECKPOINT_MALFORMED",
        ),
        "a size with an underscore": (
            lambda log, text: note(log.log_key, _body(text).replace("\n11\n", "\n1_1\n")),
            "CHECKPOINT_MALFORMED",
        ),
        "an extension line": (
            lambda log, text: note(log.log_key, _body(text) + "more\n"),
            "CHECKPOINT_MALFORMED",
        ),
        "another origin": (
            lambda log, text: note(log.log_key, _body(text).replace(ORIGIN, "other.example/line")),
            "CHECKPOINT_MALFORMED",
        ),
        "nothing": (lambda _log, _text: b"", "CHECKPOINT_MALFORMED"),
        "a megabyte": (lambda _log, text: text * 10_000, "CHECKPOINT_MALFORMED"),
    }


@pytest.mark.parametrize("lie", _checkpoint_lies())
def test_a_false_checkpoint(honest: Bench, lie: str) -> None:
    change, code = _checkpoint_lies()[lie]
    honest.log.lie_checkpoint = lambda text: change(honest.log, text)
    assert honest.codes() == [(code, None)]
    assert honest.state.kept() is None


def test_a_rollback(honest: Bench) -> None:
    honest.verify()
    honest.log.lie_checkpoint = lambda _: honest.log.checkpoint(size=9)
    assert honest.codes() == [("ROLLBACK", None)]


def test_another_root_of_the_same_size(honest: Bench) -> None:
    honest.verify()
    root = base64.b64encode(bytes(32)).decode()
    honest.log.lie_checkpoint = lambda _: note(honest.log.log_key, f"{ORIGIN}\n11\n{root}\n")
    (finding,) = honest.verify().new
    assert finding.code.name == "FORK"
    assert finding.found.startswith(f"{ORIGIN}\n11\n{root}\n")
    assert "—" in finding.expected


@pytest.mark.parametrize("from_scratch", [False, True])
def test_a_rewritten_past(honest: Bench, *, from_scratch: bool) -> None:
    honest.verify()
    past = honest.log.entries
    honest.log.tree, honest.log.entries = type(honest.log.tree)(), []
    for index, data in enumerate(past):
        honest.log.append_raw(data.replace(b"keyCompromise", b"unspecified") if index == 10 else data)
    honest.log.close_order()
    assert [item.code.name for item in honest.verify(from_scratch=from_scratch).new] == ["FORK"]
    kept = honest.state.kept()
    assert kept is not None
    assert kept.checkpoint.size == 11


def test_from_scratch_drops_what_the_run_just_before_it_found(honest: Bench) -> None:
    past = list(honest.log.entries)
    honest.log.lie_entries = lambda entries: [*entries[:-1], entries[-1][:-1] + b"?"]
    assert [item.code.name for item in honest.verify().new] == ["ENTRY_NOT_IN_TREE"]
    assert honest.log.entries == past
    honest.log.lie_entries = lambda entries: entries
    assert honest.verify(from_scratch=True).clean


def test_findings_stay_and_keep_failing(honest: Bench) -> None:
    honest.verify()
    honest.log.lie_checkpoint = lambda _: honest.log.checkpoint(size=9)
    honest.verify()
    honest.log.lie_checkpoint = lambda text: text
    report = honest.verify()
    assert not report.clean
    assert report.new == ()
    assert honest.verify(from_scratch=True).clean


@pytest.mark.parametrize(
    "proof", [[b"x"], [bytes(32)] * 200, [bytes(31)]], ids=["short hash", "too many", "31 bytes"]
)
def test_a_consistency_proof_that_is_none(honest: Bench, proof: list[bytes]) -> None:
    honest.verify()
    honest.log.close_order()
    honest.log.lie_proof = lambda _: proof
    assert honest.codes() == [("PROOF_MALFORMED", None)]


def test_a_consistency_proof_that_does_not_hold(honest: Bench) -> None:
    honest.verify()
    honest.log.close_order()
    honest.log.lie_proof = lambda hashes: [*hashes[:-1], bytes(32)]
    assert honest.codes() == [
        ("PROOF_MALFORMED", None)
    ]  # the entries lead to both checkpoints: it is no fork


def test_neither_proof_nor_entries_lead_to_the_head(honest: Bench) -> None:
    honest.verify()
    honest.log.close_order()
    honest.log.lie_proof = lambda hashes: [*hashes[:-1], bytes(32)]
    honest.log.lie_entries = lambda entries: [entries[0], *entries[:-1]]
    (finding,) = honest.verify().new
    assert finding.code.name == "CONTINUATION"
    assert finding.expected.startswith(f"{ORIGIN}\n11\n")
    assert finding.found.startswith(f"{ORIGIN}\n12\n")


@pytest.mark.parametrize("index", [0, 4, 10])
def test_a_changed_entry_is_named(honest: Bench, index: int) -> None:
    def change(entries: list[bytes]) -> list[bytes]:
        entries[index] = entries[index].replace(b"2026-11", b"2026-12")
        return entries

    honest.log.lie_entries = change
    assert honest.codes() == [("ENTRY_NOT_IN_TREE", index)]
    assert honest.state.kept() is None


@pytest.mark.parametrize("index", [0, 5, 9])
def test_a_dropped_entry_is_named(honest: Bench, index: int) -> None:
    honest.log.lie_entries = lambda entries: entries[:index] + entries[index + 1 :]
    assert honest.codes() == [("ENTRY_NOT_IN_TREE", index)]


def test_a_stream_that_ends_early(honest: Bench) -> None:
    honest.log.lie_entries = lambda entries: entries[:-2]
    assert honest.codes() == [("ENTRIES_MISSING", 9)]


def test_a_changed_entry_among_new_ones(honest: Bench) -> None:
    honest.verify()
    honest.log.issue(4)
    honest.log.close_order()
    honest.log.lie_entries = lambda entries: [*entries[:12], entries[12].replace(b"WO-1", b"WO-2")]
    assert honest.codes() == [("ENTRY_NOT_IN_TREE", 12)]


def test_a_stream_that_breaks_keeps_nothing_and_goes_on_later(tmp_path: Path) -> None:
    log = opened(quantity=400)
    log.personalize(400)
    for number in range(1, 301):
        log.issue(number)
    log.fail_at_entry = 300
    with bench(log, tmp_path) as made:
        with pytest.raises(Unreachable):
            made.verify()
        assert made.state.kept() is None
        log.fail_at_entry = None
        assert made.verify().clean


class _Endless(PaperService):
    """Never stops sending."""

    def StreamEntries(self, request: Any, context: Any) -> Iterator[audit_pb2.StreamEntriesResponse]:  # noqa: N802
        start = request.start
        while context.is_active():
            yield audit_pb2.StreamEntriesResponse(start=start, entries=[self.log.entries[0]] * 256)
            start += 256


def test_a_stream_without_end(tmp_path: Path) -> None:
    log = small()
    with bench(log, tmp_path, _Endless(log)) as made:
        assert made.codes() == [("ANSWER_MALFORMED", 0)]


class _EndlessRecords(PaperService):
    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        return audit_pb2.FindRecordsResponse(records=[], more=True)


class _BackwardRecords(PaperService):
    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        return audit_pb2.FindRecordsResponse(records=self.log.records[::-1], more=False)


class _HugeRecord(PaperService):
    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        return audit_pb2.FindRecordsResponse(records=[audit_pb2.Record(csr_der=bytes(33 * 1024 * 1024))])


class _OddRecord(PaperService):
    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        return audit_pb2.FindRecordsResponse(records=[audit_pb2.Record(record_id=1)])


@pytest.mark.parametrize("service", [_EndlessRecords, _BackwardRecords, _HugeRecord, _OddRecord])
def test_record_pages_that_are_none(tmp_path: Path, service: type[PaperService]) -> None:
    log = small()
    with bench(log, tmp_path, service(log)) as made:
        assert made.codes() == [("ANSWER_MALFORMED", None)]


class _Sulking(PaperService):
    """Answers only every third call."""

    calls = 0

    def GetCheckpoint(self, request: Any, context: Any) -> audit_pb2.GetCheckpointResponse:  # noqa: N802
        self.calls += 1
        if self.calls % 3:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")
        return super().GetCheckpoint(request, context)


def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    log = small()
    with bench(log, tmp_path, _Sulking(log)) as made:
        assert made.verify().clean


def test_nobody_there(tmp_path: Path) -> None:
    with bench(small(), tmp_path) as made:
        made.server.__exit__()
        with pytest.raises(Unreachable):
            made.verify()
