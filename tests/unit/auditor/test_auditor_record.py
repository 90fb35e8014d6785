"""The verdicts on certificate records, on values: what signerd shows against what the ledger says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import cbor2
import pytest

from auditor.core.books import Basis
from auditor.core.product import read_product
from auditor.core.record import Record, RecordState
from auditor.errors import CheckFailed
from auditor.facts import facts_of
from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.paper_certificates import Authority, csr, new_key
from harness.paper_log import FIRMWARE, LOCKS, ORDER, PRODUCT_TOML, Board, PaperLog, text

Change = Callable[[Record], Record]
ORDERED: dict[str, list[Any]] = {
    "app": ["1.4.0", sha256(b"1.4.0").digest()],
    "boot": ["2.0", sha256(b"boot").digest()],
}


def _same(record: Record) -> Record:
    return record


def _code(audit: ValueAudit, board: Board, changed: Change = _same, product: str = "") -> str:
    """Of the first thing that does not hold; empty where all does."""
    rules = read_product(product.encode()) if product else None
    try:
        audit.check(board, changed=changed, product=rules)
    except CheckFailed as error:
        return error.code.name
    return ""


def _read(log: PaperLog) -> ValueAudit:
    audit = ValueAudit(log)
    assert audit.read() == []
    return audit


@pytest.fixture(scope="module")
def boards() -> tuple[ValueAudit, dict[str, Board]]:
    """Stamped, revoked and only issued."""
    log = opened()
    made = {"stamped": log.issue(1), "revoked": log.issue(2), "issued": log.issue(3)}
    log.stamp(made["stamped"])
    log.revoke(made["revoked"])
    return _read(log), made


def _with(**members: Any) -> Change:
    return lambda record: replace(record, **members)


@pytest.mark.parametrize("which", ["stamped", "revoked", "issued"])
def test_records_that_agree_with_the_ledger_hold(
    boards: tuple[ValueAudit, dict[str, Board]], which: str
) -> None:
    audit, made = boards
    checked = audit.check(made[which])
    assert checked.leaf.certificate.serial_number
    assert (checked.stamp is not None) == (which == "stamped")
    assert checked.basis is Basis.UNCHECKED  # without a product file
    product = read_product(PRODUCT_TOML.encode())
    assert audit.check(made[which], product=product).basis is Basis.MAC


LIES: dict[str, tuple[str, Change, str]] = {
    "no certificate": ("issued", _with(certificate=b""), "CERTIFICATE_DIFFERS"),
    "a bit of the certificate": (
        "issued",
        lambda record: replace(record, certificate=_flipped(record.certificate)),
        "CERTIFICATE_DIFFERS",
    ),
    "another work order": ("issued", _with(work_order="WO-2"), "RECORD_DIFFERS"),
    "another product": ("issued", _with(product="other"), "RECORD_DIFFERS"),
    "another number": ("issued", _with(number=4), "RECORD_DIFFERS"),
    "another chip": ("issued", _with(chip_id="other"), "RECORD_DIFFERS"),
    "another serial number": ("issued", _with(serial_number="WO-1-000004"), "RECORD_DIFFERS"),
    "another level": ("issued", _with(level="chip"), "RECORD_DIFFERS"),
    "another method": ("issued", _with(method="none"), "RECORD_DIFFERS"),
    "another challenge": ("issued", _with(challenge=bytes(32)), "RECORD_DIFFERS"),
    "another station": ("issued", _with(station="birthmark://paper/station/a/b"), "RECORD_DIFFERS"),
    "another entry": ("issued", _with(issued_index=3), "RECORD_DIFFERS"),
    "other measurements": ("issued", _with(measured={"app": "1.2.0"}), "RECORD_DIFFERS"),
    "no time": ("issued", _with(issued_at=None), "RECORD_DIFFERS"),
    "another CSR": ("issued", lambda record: replace(record, csr=csr(new_key())), "CSR"),
    "other evidence": ("issued", _with(evidence=bytes(32)), "EVIDENCE"),
    "other claims": ("issued", _with(claims=cbor2.dumps([{}, {}], canonical=True)), "EVIDENCE"),
    "claims of no form": ("issued", _with(claims=b"\xff"), "EVIDENCE"),
    "an attestation key": ("issued", _with(attester=b"key"), "ATTESTER"),
    "other settings": (
        "issued",
        _with(settings=cbor2.dumps({"endpoint": "x", "serial": "WO-1-000003"}, canonical=True)),
        "SETTINGS",
    ),
    "settings of no form": ("issued", _with(settings=b"\xff"), "SETTINGS"),
    "an intent": ("issued", _with(state=RecordState.INTENT), "RECORD_STATE"),
    "stamped without a stamp": ("issued", _with(state=RecordState.STAMPED), "RECORD_STATE"),
    "a stamp, and only issued": ("issued", _with(stamp=b"\x80"), "RECORD_STATE"),
    "stamped, and not in the ledger": (
        "issued",
        _with(state=RecordState.STAMPED, stamp=b"\x80", stamped_index=2),
        "RECORD_STATE",
    ),
    "revoked, and not in the ledger": (
        "issued",
        _with(state=RecordState.REVOKED, revoked_index=2),
        "RECORD_STATE",
    ),
    "a stamp left out": (
        "stamped",
        _with(state=RecordState.ISSUED, stamp=b"", stamp_signature=b""),
        "RECORD_STATE",
    ),
    "stamped by another entry": ("stamped", _with(stamped_index=3), "RECORD_STATE"),
    "not revoked": ("revoked", _with(state=RecordState.ISSUED), "RECORD_STATE"),
    "revoked by another entry": ("revoked", _with(revoked_index=3), "RECORD_STATE"),
    "a stamp of no form": (
        "stamped",
        lambda record: replace(record, stamp=record.stamp[:-1] + b"\xf7"),
        "STAMP_FORM",
    ),
    "a signature of no form": ("stamped", _with(stamp_signature=b"\x30\x00"), "STAMP_SIGNATURE"),
}


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("lie", LIES)
def test_each_member_that_differs_is_said(boards: tuple[ValueAudit, dict[str, Board]], lie: str) -> None:
    audit, made = boards
    which, changed, code = LIES[lie]
    assert _code(audit, made[which]) == ""
    assert _code(audit, made[which], changed) == code


@pytest.mark.parametrize(
    ("off_s", "code"), [(0, ""), (120, ""), (-120, ""), (121, "RECORD_DIFFERS"), (-121, "RECORD_DIFFERS")]
)
def test_the_time_of_issue_is_the_entrys_but_for_clocks(
    boards: tuple[ValueAudit, dict[str, Board]], off_s: int, code: str
) -> None:
    audit, made = boards

    def changed(record: Record) -> Record:
        assert record.issued_at is not None
        return replace(record, issued_at=record.issued_at + timedelta(seconds=off_s))

    assert _code(audit, made["issued"], changed) == code


def test_a_record_may_run_ahead_of_the_verified_tree_and_not_behind() -> None:
    log = opened()
    board = log.issue(1)
    audit = _read(log)
    log.stamp(board)
    assert _code(audit, board) == ""
    assert _code(audit, board, _with(stamped_index=audit.size - 1)) == "RECORD_STATE"


# Where ledger and record agree in a lie


def _log_of(story: Callable[[PaperLog], Board]) -> tuple[ValueAudit, Board]:
    log = opened()
    board = story(log)
    return _read(log), board


STORIES: dict[str, tuple[Callable[[PaperLog], Board], str]] = {
    "honest": (lambda log: log.issue(1), ""),
    "it names another board": (lambda log: log.issue(1, name="WO-1-0000010"), "CERTIFICATE_DIFFERS"),
    "another key in the ledger": (
        lambda log: log.issue(1, spki_sha256="00" * 32),
        "CERTIFICATE_DIFFERS",
    ),
    "another serial in the ledger": (
        lambda log: log.issue(1, certificate_serial="77"),
        "CERTIFICATE_DIFFERS",
    ),
    "a CA certificate": (lambda log: log.issue(1, ca=True), "CERTIFICATE_FORM"),
    "of another CA of this name": (
        lambda log: log.issue(1, authority=Authority.root("Paper Root").subordinate("Paper Sub-CA")),
        "CERTIFICATE_CHAIN",
    ),
    "it begins too late": (
        lambda log: log.issue(1, begin=log.now + timedelta(hours=1)),
        "CERTIFICATE_DIFFERS",
    ),
    "a CSR of another key": (lambda log: log.issue(1, csr_key=new_key()), "CSR"),
    "claims with a byte behind them": (
        lambda log: log.issue(1, claims=cbor2.dumps([FIRMWARE, LOCKS], canonical=True) + b"\x00"),
        "EVIDENCE",
    ),
    "firmware below the order's": (
        lambda log: log.issue(
            1, claims=cbor2.dumps([{"app": ["1.0.0-rc1", bytes(32)]}, LOCKS], canonical=True)
        ),
        "FIRMWARE_TOO_OLD",
    ),
    "no firmware": (
        lambda log: log.issue(1, claims=cbor2.dumps([{}, LOCKS], canonical=True)),
        "FIRMWARE_TOO_OLD",
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_ledger_and_record_agree_in(story: str) -> None:
    made, code = STORIES[story]
    audit, board = _log_of(made)
    assert _code(audit, board) == code


def test_settings_are_those_of_the_order() -> None:
    log = opened()
    board = log.issue(1)
    log.settings = {"endpoint": "mqtts://elsewhere.example:8883"}
    other = log.issue(2)
    audit = _read(log)
    assert _code(audit, board) == ""
    assert _code(audit, other) == "SETTINGS"


# Stamps


def _stamped(**changes: Any) -> tuple[ValueAudit, Board]:
    def story(log: PaperLog) -> Board:
        named = {name: [version, digest.hex()] for name, (version, digest) in ORDERED.items()}
        log.open_order("WO-2", bundle_sha256="ab" * 32, firmware=named)
        board = log.issue(1, work_order="WO-2")
        log.stamp(board, **{"firmware": ORDERED} | changes)
        return board

    return _log_of(story)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"firmware": ORDERED | {"modem": ["9.9", bytes(32)]}}, ""),
        ({"firmware": ORDERED | {"app": ["1.4.0", bytes(32)]}}, "FIRMWARE_DIFFERS"),
        ({"firmware": ORDERED | {"app": ["1.4", ORDERED["app"][1]]}}, "FIRMWARE_DIFFERS"),
        ({"firmware": {"app": ORDERED["app"]}}, "FIRMWARE_DIFFERS"),
        ({"firmware": ORDERED | {"app": ["0.9", ORDERED["app"][1]]}}, "FIRMWARE_TOO_OLD"),
        ({"stamp_sha256": "00" * 32}, "STAMP_DIFFERS"),
        ({"key": new_key()}, "STAMP_SIGNATURE"),
    ],
    ids=[
        "as ordered", "and one more", "another digest", "another version", "one is missing", "too old",
        "another stamp in the ledger", "another key",
    ],
)  # fmt: skip
def test_a_stamp_is_the_boards_and_names_the_orders_firmware(changes: Mapping[str, Any], code: str) -> None:
    audit, board = _stamped(**changes)
    assert _code(audit, board) == code


@pytest.mark.parametrize(
    ("locks", "code"),
    [
        ({"secure_boot": True}, ""),
        ({"secure_boot": True, "debug_closed": False}, ""),
        ({"secure_boot": False}, "LOCKS_OPEN"),
        ({}, "LOCKS_OPEN"),
    ],
)
def test_the_products_locks_are_closed_in_the_stamp(locks: dict[str, bool], code: str) -> None:
    audit, board = _stamped(locks=locks)
    assert _code(audit, board, product=PRODUCT_TOML) == code


@pytest.mark.parametrize(("least", "code"), [("1.2.0", ""), ("1.2.1", "FIRMWARE_TOO_OLD")])
def test_the_higher_minimum_of_order_and_product_counts(least: str, code: str) -> None:
    audit, board = _log_of(lambda log: log.issue(1))  # the order demands 1.0.0
    product = PRODUCT_TOML.replace("[evidence]", f'[evidence]\nminimum_firmware = {{ app = "{least}" }}')
    assert _code(audit, board, product=product) == code


# An intent that a crash held up, and evidence inside a CSR


def test_evidence_is_judged_at_the_moment_of_its_intent() -> None:
    """Where the certificate begins then, as one does that a crash held up."""
    log = opened()
    began = log.now
    log.append(
        "intent_open", work_order=ORDER, chip_id=f"chip-{ORDER}-1", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(began),
    )  # fmt: skip
    log.now += timedelta(days=1)
    boards = [log.issue(1, begin=began), log.issue(2)]
    audit = _read(log)
    held_up, usual = (
        facts_of(audit.state, certificate, audit.size)
        for board in boards
        for certificate in audit.state.certificates_of(serial_number=board.record.serial_number)
    )
    nothing = timedelta(0)
    assert held_up.moment(began, nothing) == began
    assert held_up.moment(began - timedelta(hours=1), timedelta(hours=1)) == began  # backdated
    assert held_up.moment(held_up.issued.time, nothing) == held_up.issued.time
    assert usual.moment(began, nothing) == usual.issued.time


def test_chip_ids_have_the_form_of_the_product() -> None:
    log = opened()
    board = log.issue(1)
    audit = _read(log)
    for form, code in (("chip-WO-[0-9]-[0-9]", ""), ("CHIP-[0-9]{6}", "EVIDENCE")):
        product = PRODUCT_TOML.replace("[evidence]", f'[evidence]\nchip_ids = "{form}"')
        assert _code(audit, board, product=product) == code
