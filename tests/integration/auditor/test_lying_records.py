"""A genuine log whose records lie: each lie is one finding, at the certificate's entry."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from birthmark.v1 import audit_pb2, signing_pb2
from harness.audit_bench import bench, opened
from harness.paper_certificates import Authority, csr, der, new_key, spki
from harness.paper_log import FIRMWARE, LOCKS, Board, PaperLog

Records = list[audit_pb2.Record]


def _log() -> PaperLog:
    """Boards 1 (stamped), 2 (revoked) and 3 (issued), at entries 5, 7 and 9."""
    log = opened()
    log.stamp(log.issue(1))
    log.revoke(log.issue(2))
    log.issue(3)
    return log


def _changed(position: int, change: Callable[[audit_pb2.Record], object]) -> Callable[[Records], Records]:
    def lie(records: Records) -> Records:
        copies = deepcopy(records)
        change(copies[position])
        return copies

    return lie


def _set(position: int, **members: object) -> Callable[[Records], Records]:
    def change(record: audit_pb2.Record) -> None:
        for name, value in members.items():
            setattr(record, name, value)

    return _changed(position, change)


def _swap_certificates(records: Records) -> Records:
    copies = deepcopy(records)
    copies[2].certificate_der = records[0].certificate_der
    return copies


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _unlogged(records: Records) -> Records:
    root = Authority.root("Anybody")
    extra = deepcopy(records[0])
    extra.record_id, extra.chip_id, extra.serial_number = 9, "a chip", "a serial"
    extra.certificate_der = der(root.leaf(new_key(), name="x", serial=9))
    return [*records, extra]


LIES: dict[str, tuple[Callable[[Records], Records], str, int | None]] = {
    "a certificate of another board": (_swap_certificates, "CERTIFICATE_DIFFERS", 9),
    "a certificate changed in a bit": (
        _changed(2, lambda record: setattr(record, "certificate_der", _flipped(record.certificate_der))),
        "CERTIFICATE_DIFFERS",
        9,
    ),
    "no certificate": (_set(2, certificate_der=b""), "CERTIFICATE_DIFFERS", 9),
    "a certificate that is not in the ledger": (_unlogged, "RECORD_UNLOGGED", None),
    "a record that is missing": (lambda records: records[:2], "RECORD_MISSING", 9),
    "another number": (_set(2, number=4), "RECORD_DIFFERS", 9),
    "another product": (_set(2, product="other"), "RECORD_DIFFERS", 9),
    "another station": (_set(2, station="birthmark://paper/station/a/b"), "RECORD_DIFFERS", 9),
    "another challenge": (_set(2, challenge=bytes(32)), "RECORD_DIFFERS", 9),
    "another level": (_set(2, level=signing_pb2.EVIDENCE_LEVEL_CHIP), "RECORD_DIFFERS", 9),
    "another entry": (_set(2, issued_index=8), "RECORD_DIFFERS", 9),
    "another chip": (_set(2, chip_id="other"), "RECORD_DIFFERS", 9),
    "another CSR": (_set(2, csr_der=csr(new_key())), "CSR", 9),
    "other evidence": (
        _changed(2, lambda record: setattr(record.evidence, "evidence", bytes(32))),
        "EVIDENCE",
        9,
    ),
    "other claims": (
        _changed(2, lambda record: setattr(record.evidence, "claims", cbor2.dumps([{}, {}]))),
        "EVIDENCE",
        9,
    ),
    "other settings": (_set(2, settings=cbor2.dumps({"serial": "WO-1-000003"})), "SETTINGS", 9),
    "a stamp left out": (_set(0, stamp=b"", stamp_signature=b""), "RECORD_STATE", 5),
    "stamped, it says, but not in the ledger": (
        _set(2, state=audit_pb2.RECORD_STATE_STAMPED, stamp=b"\x80"),
        "RECORD_STATE",
        9,
    ),
    "not revoked, it says": (_set(1, state=audit_pb2.RECORD_STATE_ISSUED), "RECORD_STATE", 7),
    "an intent, it says": (_set(2, state=audit_pb2.RECORD_STATE_INTENT), "RECORD_STATE", 9),
    "a stamp's signature changed": (
        _changed(0, lambda record: setattr(record, "stamp_signature", b"\x30\x00")),
        "STAMP_SIGNATURE",
        5,
    ),
    "a stamp changed": (
        _changed(0, lambda record: setattr(record, "stamp", record.stamp[:-1] + b"\xf7")),
        "STAMP_FORM",
        5,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_one_finding(tmp_path: Path, lie: str) -> None:
    change, code, index = LIES[lie]
    log = _log()
    log.lie_records = change
    with bench(log, tmp_path) as made:
        assert made.codes() == [(code, index)]


def _stamp_by_another_key(log: PaperLog) -> int:
    board = log.issue(1)
    log.stamp(board, key=new_key())
    return board.issued_index


def _stamp_of_other_bytes(log: PaperLog) -> int:
    board = log.issue(1)
    log.stamp(board, stamp_sha256="00" * 32)
    return board.issued_index


def _stamp_of_another_board(log: PaperLog) -> int:
    board, other = log.issue(1), log.issue(2)
    mine = (board.record.serial_number, board.record.chip_id)
    board.record.serial_number = other.record.serial_number
    log.stamp(board, serial_number=mine[0])
    board.record.serial_number = mine[0]
    return board.issued_index


def _other_ca(log: PaperLog) -> int:
    other = Authority.root("Paper Root").subordinate("Paper Sub-CA")
    return log.issue(1, authority=other).issued_index


def _ca_certificate(log: PaperLog) -> int:
    return log.issue(1, ca=True).issued_index


def _names_another(log: PaperLog) -> int:
    return log.issue(1, name="WO-1-0000010").issued_index


def _other_key_logged(log: PaperLog) -> int:
    return log.issue(1, spki_sha256="00" * 32).issued_index


def _other_serial_logged(log: PaperLog) -> int:
    return log.issue(1, certificate_serial="77").issued_index


def _csr_of_another_key(log: PaperLog) -> int:
    return log.issue(1, csr_key=new_key()).issued_index


def _old_firmware(log: PaperLog) -> int:
    claims = cbor2.dumps([{"app": ["1.0.0-rc1", bytes(32)]}, LOCKS], canonical=True)
    return log.issue(1, claims=claims).issued_index


def _no_firmware(log: PaperLog) -> int:
    return log.issue(1, claims=cbor2.dumps([{}, LOCKS], canonical=True)).issued_index


def _loose_claims(log: PaperLog) -> int:
    claims = cbor2.dumps([FIRMWARE, LOCKS], canonical=True)
    return log.issue(1, claims=claims + b"\x00").issued_index


def _settings_of_another_order(log: PaperLog) -> int:
    log.settings = {"endpoint": "mqtts://elsewhere.example:8883"}
    return log.issue(1).issued_index


def _begins_too_late(log: PaperLog) -> int:
    return log.issue(1, begin=log.now + timedelta(hours=1)).issued_index


ORDERED: dict[str, list[Any]] = {
    "app": ["1.4.0", sha256(b"1.4.0").digest()],
    "boot": ["2.0", sha256(b"boot").digest()],
}


def _of_an_order_with_a_bundle(log: PaperLog) -> Board:
    named = {name: [version, digest.hex()] for name, (version, digest) in ORDERED.items()}
    log.open_order("WO-2", bundle_sha256="ab" * 32, firmware=named)
    return log.issue(1, work_order="WO-2")


def _stamped_with(log: PaperLog, **changed: object) -> int:
    """A stamp with these components changed (None: left out)."""
    board = _of_an_order_with_a_bundle(log)
    firmware = {name: item for name, item in {**ORDERED, **changed}.items() if item is not None}
    log.stamp(board, firmware=firmware)
    return board.issued_index


def _stamp_with_another_application(log: PaperLog) -> int:
    return _stamped_with(log, app=["1.4.0", bytes(32)])


def _stamp_with_older_firmware(log: PaperLog) -> int:
    return _stamped_with(log, app=["1.3.0", sha256(b"1.3.0").digest()])


def _stamp_with_the_digest_under_another_version(log: PaperLog) -> int:
    return _stamped_with(log, app=["1.4", ORDERED["app"][1]])


def _stamp_without_an_ordered_component(log: PaperLog) -> int:
    return _stamped_with(log, boot=None)


STORIES: list[tuple[Callable[[PaperLog], int], str]] = [
    (_stamp_with_another_application, "FIRMWARE_DIFFERS"),
    (_stamp_with_older_firmware, "FIRMWARE_DIFFERS"),
    (_stamp_with_the_digest_under_another_version, "FIRMWARE_DIFFERS"),
    (_stamp_without_an_ordered_component, "FIRMWARE_DIFFERS"),
    (_stamp_by_another_key, "STAMP_SIGNATURE"),
    (_stamp_of_other_bytes, "STAMP_DIFFERS"),
    (_stamp_of_another_board, "STAMP_DIFFERS"),
    (_other_ca, "CERTIFICATE_CHAIN"),
    (_ca_certificate, "CERTIFICATE_FORM"),
    (_names_another, "CERTIFICATE_DIFFERS"),
    (_other_key_logged, "CERTIFICATE_DIFFERS"),
    (_other_serial_logged, "CERTIFICATE_DIFFERS"),
    (_csr_of_another_key, "CSR"),
    (_old_firmware, "FIRMWARE_TOO_OLD"),
    (_no_firmware, "FIRMWARE_TOO_OLD"),
    (_loose_claims, "EVIDENCE"),
    (_settings_of_another_order, "SETTINGS"),
    (_begins_too_late, "CERTIFICATE_DIFFERS"),
]


@pytest.mark.parametrize(("story", "code"), STORIES, ids=[story.__name__[1:] for story, _ in STORIES])
def test_a_ledger_and_record_that_agree_in_a_lie(
    tmp_path: Path, story: Callable[[PaperLog], int], code: str
) -> None:
    log = opened()
    index = story(log)
    with bench(log, tmp_path) as made:
        assert made.codes() == [(code, index)]


def test_a_stamp_with_the_firmware_that_the_order_names(tmp_path: Path) -> None:
    log = opened()
    log.stamp(_of_an_order_with_a_bundle(log), firmware=ORDERED | {"modem": ["9.9", bytes(32)]})
    with bench(log, tmp_path) as made:
        report = made.verify()
    assert (report.clean, report.stamps) == (True, 1)


def test_a_record_that_is_rewritten_to_other_firmware(tmp_path: Path) -> None:
    """Even by who has the board's key: the ledger has the digest of the stamp that was recorded."""
    log = opened()
    board = _of_an_order_with_a_bundle(log)
    log.stamp(board, firmware=ORDERED)
    items = cbor2.loads(board.record.stamp)
    items[6]["app"] = ["1.4.0", bytes(32)]
    stamp = cbor2.dumps(items, canonical=True)
    signature = board.key.sign(stamp, ec.ECDSA(hashes.SHA256()))
    log.lie_records = _set(0, stamp=stamp, stamp_signature=signature)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("STAMP_DIFFERS", board.issued_index)]


@pytest.mark.parametrize(
    "chain",
    [
        lambda _: [],
        lambda _: [b"\x30"],
        lambda chain: chain * 9,
        lambda _: [der(Authority.root("Paper Root").subordinate("Paper Sub-CA").certificate)],
    ],
    ids=["none", "garbage", "long", "another CA"],
)
def test_a_chain_that_does_not_hold(tmp_path: Path, chain: Callable[[list[bytes]], list[bytes]]) -> None:
    log = _log()
    log.lie_chain = chain
    with bench(log, tmp_path) as made:
        assert made.codes() == [("CERTIFICATE_CHAIN", None)]


def test_a_chain_to_another_root(tmp_path: Path) -> None:
    log = opened()
    log.issue(1)
    log.lie_chain = lambda _: [der(log.issuer.certificate), der(log.root.certificate)]
    with bench(log, tmp_path) as made:
        assert made.verify().clean  # the pinned root itself may end the chain: it signed itself
    other = PaperLog(root=Authority.root("Another"))
    other.open_log(
        issuer_sha256=sha256(der(log.issuer.certificate)).hexdigest(),
        root_sha256=sha256(der(other.root.certificate)).hexdigest(),
    )
    other.issuer = log.issuer
    other.add_station()
    other.add_product()
    other.personalize(1)
    other.open_order()
    other.issue(1)
    with bench(other, tmp_path / "other") as made:
        assert made.codes() == [("CERTIFICATE_CHAIN", None)]


def test_a_record_whose_entry_is_to_come_is_awaited_and_then_demanded(tmp_path: Path) -> None:
    log = _log()
    ahead = deepcopy(log.records[2])
    ahead.record_id, ahead.chip_id, ahead.serial_number, ahead.issued_index = 4, "c", "s", 10_000
    ahead.certificate_der = der(Authority.root("Anybody").leaf(new_key(), name="x", serial=9))
    log.records.append(ahead)
    with bench(log, tmp_path) as made:
        report = made.verify()
        assert report.clean
        assert report.awaited == 1
        assert made.codes() == [("RECORD_UNLOGGED", None)]


def test_a_record_ahead_of_the_tree_is_no_finding(tmp_path: Path) -> None:
    log = _log()
    with bench(log, tmp_path) as made:
        size = log.tree.size
        log.lie_checkpoint = lambda _: log.checkpoint(size=size)
        board = log.issue(4)
        log.stamp(board)
        report = made.verify()
        assert report.clean
        assert report.awaited == 1
        log.lie_checkpoint = lambda text: text
        report = made.verify()
        assert report.clean
        assert (report.awaited, report.records, report.stamps) == (0, 1, 1)


def test_a_superseded_certificate_is_followed_by_its_successor(tmp_path: Path) -> None:
    log = opened(reissue="always")
    first = log.issue(1)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        key = new_key()
        log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
        log.issue(1, key=key, supersedes=first.certificate_sha256)
        report = made.verify()
        assert report.clean
        assert report.records == 2
