"""A hostile factory with a valid station certificate gets codes, and each refusal stands in the ledger."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, signing_pb2, station_pb2, station_pb2_grpc
from harness.hostile_line import CALL_TIMEOUT_S, HostileLine, Station, code_of
from harness.paper_board import PaperBoard, deterministic
from harness.process import wait_until

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "board")])


def test_the_honest_way_works(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    line.pc1.stamp(board, session, signed)
    certificate = x509.load_der_x509_certificate(signed.certificate_der)
    assert certificate.public_key() == board.key.public_key()
    assert line.counts(order).stamped == 1


def test_own_key_with_own_csr(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    forger = PaperBoard(genuine.chip_id, bytes(32))
    session = line.pc1.open(order, genuine.chip_id)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, *forger.request(session.challenge)))


def test_own_csr_with_no_evidence_where_it_is_demanded(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    forger = PaperBoard(genuine.chip_id, None)
    session = line.pc1.open(order, genuine.chip_id)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, *forger.request(session.challenge)))


def test_own_csr_with_a_genuine_boards_evidence(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    forger = PaperBoard(genuine.chip_id, None)
    session = line.pc1.open(order, genuine.chip_id)
    csr, evidence = genuine.request(session.challenge)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, forger.csr(), evidence))
    assert line.pc1.sign(session, csr, evidence).certificate_der


def test_replayed_evidence_in_a_new_session(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    first = line.pc1.open(order, genuine.chip_id)
    csr, evidence = genuine.request(first.challenge)
    second = line.pc1.open(order, genuine.chip_id)
    line.refused("evidence_rejected", lambda: line.pc1.sign(second, csr, evidence))
    assert line.pc1.sign(first, csr, evidence).certificate_der


def test_a_made_up_session(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    session = line.pc1.open(order, genuine.chip_id)
    forged = signing_pb2.OpenSessionResponse(
        session=session.session[:-1] + bytes([session.session[-1] ^ 1]), challenge=session.challenge
    )
    line.refused("session_unknown", lambda: line.pc1.sign(forged, *genuine.request(session.challenge)))


def test_another_stations_session(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    session = line.pc1.open(order, genuine.chip_id)
    csr, evidence = genuine.request(session.challenge)
    line.refused("session_unknown", lambda: line.pc2.sign(session, csr, evidence), peer="pc2")
    signed = line.pc1.sign(session, csr, evidence)
    # Neither the answer nor the stamp is another station's to have, even with every byte known.
    line.refused("session_unknown", lambda: line.pc2.sign(session, csr, evidence), peer="pc2")
    line.refused("session_unknown", lambda: line.pc2.stamp(genuine, session, signed), peer="pc2")


def test_a_second_chip_in_one_session(line: HostileLine) -> None:
    order, first, second = line.open_order(), line.board(), line.board()
    session = line.pc1.open(order, first.chip_id)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, *second.request(session.challenge)))
    line.pc1.sign(session, *first.request(session.challenge))
    line.refused("session_used", lambda: line.pc1.sign(session, *second.request(session.challenge)))


def test_two_certificates_for_one_chip(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    line.pc1.certify(order, board)
    rekeyed = PaperBoard(board.chip_id, board.chip_key)
    session = line.pc1.open(order, board.chip_id)
    line.refused(
        "chip_already_certified", lambda: line.pc1.sign(session, *rekeyed.request(session.challenge))
    )


def test_the_same_chip_on_another_order(line: HostileLine) -> None:
    board = line.board()
    line.pc1.certify(line.open_order(), board)
    rekeyed = PaperBoard(board.chip_id, board.chip_key)
    session = line.pc1.open(line.open_order(), board.chip_id)
    line.refused(
        "chip_already_certified", lambda: line.pc1.sign(session, *rekeyed.request(session.challenge))
    )


def test_the_same_chip_and_key_on_another_order(line: HostileLine) -> None:
    board = line.board()
    line.pc1.certify(line.open_order(), board)
    other = line.open_order()
    line.refused("chip_already_certified", lambda: line.pc1.certify(other, board))
    assert line.counts(other).places == 0


def test_the_same_chip_and_key_get_the_same_certificate(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    _, first = line.pc1.certify(order, board)
    _, second = line.pc2.certify(order, board)
    assert first.certificate_der == second.certificate_der
    assert line.counts(order).places == 1


def test_more_boards_than_ordered(line: HostileLine) -> None:
    order = line.open_order(quantity=2)
    boards = [line.board() for _ in range(3)]
    sessions = [line.pc1.open(order, board.chip_id) for board in boards]
    for board, session in zip(boards[:2], sessions[:2], strict=True):
        line.pc1.sign(session, *board.request(session.challenge))
    line.refused("order_full", lambda: line.pc1.sign(sessions[2], *boards[2].request(sessions[2].challenge)))
    line.refused("order_full", lambda: line.pc1.open(order, line.board().chip_id))
    assert line.counts(order).places == 2


def test_two_stations_racing_for_the_last_place(line: HostileLine) -> None:
    for _ in range(5):
        order = line.open_order(quantity=1)
        boards = [line.board(), line.board()]
        stations = [line.pc1, line.pc2]
        requests = []
        for station, board in zip(stations, boards, strict=True):
            session = station.open(order, board.chip_id)
            requests.append((station, session, *board.request(session.challenge)))
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda call: code_of(lambda: call[0].sign(*call[1:])), requests))
        assert sorted(codes) == ["", "order_full"]
        assert line.counts(order).places == line.counts(order).issued == 1


def test_two_sessions_racing_with_one_chip(line: HostileLine) -> None:
    for _ in range(5):
        order, board = line.open_order(), line.board()
        rekeyed = PaperBoard(board.chip_id, board.chip_key)
        requests = []
        for station, one in ((line.pc1, board), (line.pc2, rekeyed)):
            session = station.open(order, one.chip_id)
            requests.append((station, session, *one.request(session.challenge)))
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda call: code_of(lambda: call[0].sign(*call[1:])), requests))
        assert sorted(codes) == ["", "chip_already_certified"]
        assert line.counts(order).issued == 1


def test_sixteen_equal_requests_at_once_give_one_certificate(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: line.pc1.sign(session, csr, evidence), range(16)))
    assert len({answer.certificate_der for answer in answers}) == 1
    assert line.counts(order).issued == 1


def test_a_foreign_order_cannot_be_told_from_none(line: HostileLine) -> None:
    board = line.board()
    foreign = line.open_order(stations=(line.pc2.uri,))
    line.refused("order_unknown", lambda: line.pc1.open(foreign, board.chip_id))
    line.refused("order_unknown", lambda: line.pc1.open("WO-of-nobody", board.chip_id))


@pytest.mark.check
def test_a_future_and_a_past_order(line: HostileLine) -> None:
    board, now = line.board(), datetime.now(UTC)
    future = line.open_order(not_before=now + timedelta(days=1), not_after=now + timedelta(days=2))
    end = datetime.now(UTC) + timedelta(seconds=3)  # for a busy machine to open it
    past = line.open_order(not_before=now - timedelta(days=2), not_after=end)
    line.refused("order_not_open", lambda: line.pc1.open(future, board.chip_id))
    wait_until(lambda: datetime.now(UTC) > end + timedelta(seconds=1), "the window's end")
    line.refused("order_not_open", lambda: line.pc1.open(past, board.chip_id))


def test_an_order_closed_after_the_session_was_opened(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    line.admin.CloseWorkOrder(admin_pb2.CloseWorkOrderRequest(work_order=order))
    line.refused("order_not_open", lambda: line.pc1.sign(session, *board.request(session.challenge)))


def test_a_chip_that_nobody_personalized(line: HostileLine) -> None:
    line.refused("chip_unknown", lambda: line.pc1.open(line.open_order(), "chip:emulated"))


def test_firmware_below_the_orders_minimum(line: HostileLine) -> None:
    order, board = line.open_order(minimum_firmware={"app": "1.3.0"}), line.board()
    session = line.pc1.open(order, board.chip_id)
    line.refused("firmware_too_old", lambda: line.pc1.sign(session, *board.request(session.challenge)))


def test_claims_changed_after_the_board_made_them(line: HostileLine) -> None:
    order, board = line.open_order(minimum_firmware={"app": "1.2.0"}), line.board()
    old = replace(board, firmware={"app": ["1.1.0", bytes(32)]})
    session = line.pc1.open(order, board.chip_id)
    csr, evidence = old.request(session.challenge)
    forged = signing_pb2.Evidence(method=evidence.method, claims=board.claims(), evidence=evidence.evidence)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, csr, forged))


def _request(board: PaperBoard, *extensions: x509.ExtensionType, subject: x509.Name = NAME) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(board.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None),
        x509.NameConstraints([x509.DNSName("example.com")], None),
    ],
)
def test_a_csr_that_asks_for_more_than_a_leaf(line: HostileLine, extension: x509.ExtensionType) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr = _request(board, extension)
    line.refused(
        "csr_rejected", lambda: line.pc1.sign(session, csr, board.evidence_for(session.challenge, csr))
    )


def test_an_unknown_extension_in_the_csr_changes_nothing(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    unknown = x509.ObjectIdentifier("1.2.3.4")
    csr = _request(board, x509.UnrecognizedExtension(unknown, b"\x05\x00"))
    signed = line.pc1.sign(session, csr, board.evidence_for(session.challenge, csr))
    certificate = x509.load_der_x509_certificate(signed.certificate_der)
    assert unknown not in [extension.oid for extension in certificate.extensions]


def test_another_subject_in_the_csr_changes_nothing(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "S1-0001")])
    csr = _request(board, subject=subject)
    signed = line.pc1.sign(session, csr, board.evidence_for(session.challenge, csr))
    certificate = x509.load_der_x509_certificate(signed.certificate_der)
    assert certificate.subject.rfc4514_string() == f"CN={signed.serial_number},O=Example Corp"
    assert signed.serial_number != "S1-0001"


def test_a_subject_changed_by_the_station_breaks_the_csr(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr, _ = board.request(session.challenge)
    changed = csr.replace(b"board", b"BOARD")
    assert changed != csr
    line.refused(
        "csr_rejected",
        lambda: line.pc1.sign(session, changed, board.evidence_for(session.challenge, changed)),
    )


def test_weak_and_other_keys(line: HostileLine) -> None:
    order = line.open_order()
    for key in (
        ec.derive_private_key(3, ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(65537, 2048),  # strong, and not of a type that the product accepts
    ):
        board = line.board()
        session = line.pc1.open(order, board.chip_id)
        builder = x509.CertificateSigningRequestBuilder().subject_name(NAME)
        csr = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        evidence = board.evidence_for(session.challenge, csr)
        line.refused("key_rejected", partial(line.pc1.sign, session, csr, evidence))


def test_a_key_that_is_certified_already(line: HostileLine) -> None:
    order, first, second = line.open_order(), line.board(), line.board()
    line.pc1.certify(order, first)
    twin = replace(second, key=first.key)
    session = line.pc1.open(order, second.chip_id)
    line.refused("key_already_certified", lambda: line.pc1.sign(session, *twin.request(session.challenge)))


@pytest.mark.parametrize("suffix", [b"\x00", b"\x30\x00", bytes(1_000_000)])
def test_a_csr_with_bytes_after_it(line: HostileLine, suffix: bytes) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr = board.csr() + suffix
    line.refused(
        "csr_rejected", lambda: line.pc1.sign(session, csr, board.evidence_for(session.challenge, csr))
    )
    line.pc1.sign(session, *board.request(session.challenge))


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_csr_that_is_cut(line: HostileLine, cut: int) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr = board.csr()[:cut]
    line.refused(
        "csr_rejected", lambda: line.pc1.sign(session, csr, board.evidence_for(session.challenge, csr))
    )


@pytest.mark.parametrize(
    ("order", "chip_id"),
    [
        ("", "chip:1"),
        ("x" * 65, "chip:1"),
        ("WO-1\n", "chip:1"),
        ("WO-1", ""),
        ("WO-1", "c" * 65),
        ("WO-1", "a b"),
    ],
)
def test_fields_out_of_their_bounds(line: HostileLine, order: str, chip_id: str) -> None:
    line.refused("request_malformed", lambda: line.pc1.open(order, chip_id))


BAD_VERSIONS = ["1" * 65, "1.0\n", "1 0", "１.0", '1.0","by":"x', "\x00"]


def test_a_session_with_a_version_out_of_its_bounds(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    asked = signing_pb2.OpenSessionRequest(work_order=order, chip_id=board.chip_id)
    call = line.pc1.raw("/birthmark.v1.SigningService/OpenSession")
    before = line.size()
    for version in [*BAD_VERSIONS, "9" * 1_000_000, "\x1b[2J", "\u202e1.0"]:
        asked.agent_version = version
        assert code_of(lambda: line.pc1.signing.OpenSession(asked, timeout=CALL_TIMEOUT_S)) == (
            "request_malformed"
        )
    asked.agent_version = "#"
    no_text = asked.SerializeToString().replace(b"#", b"\xff")
    line.refused("request_malformed", lambda: call(no_text))
    assert not any("agent" in entry for entry in line.entries(before) if entry["type"] == "refused")
    asked.agent_version = "1.0+local-2"
    assert line.pc1.signing.OpenSession(asked, timeout=CALL_TIMEOUT_S).session


def test_a_board_that_never_came_to_a_request_is_refused_with_the_version_that_tried(
    line: HostileLine,
) -> None:
    """And without one, as stations of before are."""
    for stated, kept in (("1.0", "1.0"), ("", None)):
        before = line.size()
        asked = signing_pb2.OpenSessionRequest(work_order="WO-none", chip_id="c:1", agent_version=stated)
        line.refused("order_unknown", lambda: line.pc1.signing.OpenSession(asked, timeout=CALL_TIMEOUT_S))  # noqa: B023 -- called at once
        entered = (entry for entry in line.entries(before) if entry["type"] == "refused")
        (refusal,) = (entry for entry in entered if entry["work_order"] == asked.work_order)
        assert refusal.get("agent") == kept
    line.verify()


@pytest.mark.parametrize("version", BAD_VERSIONS)
def test_a_version_of_an_agent_out_of_its_bounds(line: HostileLine, version: str) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    asked = signing_pb2.SignCsrRequest(
        session=session.session, csr_der=csr, evidence=evidence, agent_version=version
    )
    line.refused("request_malformed", lambda: line.pc1.signing.SignCsr(asked, timeout=CALL_TIMEOUT_S))
    asked.agent_version = "1.0+local-2"
    entry = json.loads(line.pc1.signing.SignCsr(asked, timeout=CALL_TIMEOUT_S).ledger_entry)
    assert entry["versions"]["agent"] == "1.0+local-2"


def test_bytes_that_are_no_message(line: HostileLine) -> None:
    call = line.pc1.raw("/birthmark.v1.SigningService/SignCsr")
    line.refused("request_malformed", lambda: call(b"\xff" * 100))


def test_a_stamp_of_another_board(line: HostileLine) -> None:
    order, mine, other = line.open_order(), line.board(), line.board()
    my_session, my_signed = line.pc1.certify(order, mine)
    session, signed = line.pc1.certify(order, other)
    theirs = other.stamp(session.challenge, signed.serial_number, signed.certificate_der, signed.settings)
    line.refused("stamp_rejected", lambda: line.pc1.record(my_session, *theirs))
    line.pc1.stamp(mine, my_session, my_signed)


def test_a_stamp_changed_after_signing(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    stamp, signature = board.stamp(
        session.challenge, signed.serial_number, signed.certificate_der, signed.settings
    )
    changed = stamp.replace(b"1.2.0", b"9.2.0")
    assert changed != stamp
    line.refused("stamp_rejected", lambda: line.pc1.record(session, changed, signature))
    line.refused("stamp_rejected", lambda: line.pc1.record(session, stamp, signature[:-1]))
    line.refused("request_malformed", lambda: line.pc1.record(session, b"", b""))
    line.pc1.record(session, stamp, signature)


def test_a_stamp_with_one_wrong_field_though_the_board_signed_it(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    right = board.stamp_fields(
        session.challenge, signed.serial_number, signed.certificate_der, signed.settings
    )
    for index, value in enumerate((None, bytes(32), "another-chip", "another-board", bytes(32), bytes(32))):
        fields = deterministic([*right[:index], value, *right[index + 1 :]])
        line.refused("stamp_rejected", partial(line.pc1.record, session, fields, board.sign(fields)))
    fields = deterministic(right)
    line.pc1.record(session, fields, board.sign(fields))


def test_a_stamp_with_an_open_lock(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    for locks in ({"secure_boot": False}, {}):
        unlocked = replace(board, locks=locks)
        line.refused("stamp_locks_open", partial(line.pc1.stamp, unlocked, session, signed))
    line.pc1.stamp(board, session, signed)


def test_a_stamp_sent_twice_with_a_difference(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    stamp, signature = board.stamp(
        session.challenge, signed.serial_number, signed.certificate_der, signed.settings
    )
    first = line.pc1.record(session, stamp, signature)
    again = line.pc1.record(session, stamp, board.sign(stamp))
    assert again.ledger_index == first.ledger_index
    assert again.ledger_entry == first.ledger_entry
    other = replace(board, firmware={"app": ["1.2.1", bytes(32)]})
    line.refused("stamp_conflict", lambda: line.pc1.stamp(other, session, signed))


def test_a_stamp_before_there_is_a_certificate(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session = line.pc1.open(order, board.chip_id)
    stamp, signature = board.stamp(session.challenge, "S1-0001", b"none", b"none")
    line.refused("session_unknown", lambda: line.pc1.record(session, stamp, signature))


def test_after_revocation_nothing_goes_on(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    session, signed = line.pc1.certify(order, board)
    line.admin.Revoke(
        admin_pb2.RevokeRequest(serial_number=signed.serial_number, reason="keyCompromise"), timeout=30
    )
    line.refused("certificate_revoked", lambda: line.pc1.stamp(board, session, signed))
    line.refused("certificate_revoked", lambda: line.pc1.open(order, board.chip_id))


def test_no_two_certificates_anywhere_share_a_digest(line: HostileLine) -> None:
    issued = line.certificates()
    assert issued
    assert len(issued) == len(set(issued))
    assert all(len(bytes.fromhex(digest)) == hashlib.sha256().digest_size for digest in issued)


def test_an_auditor_finds_nothing_after_all_that(line: HostileLine) -> None:
    line.verify()


def checked(station: Station, order: str = "") -> station_pb2.CheckStationResponse:
    stub = station_pb2_grpc.StationServiceStub(station.channel)
    return stub.CheckStation(station_pb2.CheckStationRequest(work_order=order), timeout=CALL_TIMEOUT_S)


def test_a_check_tells_a_station_what_a_session_would_and_leaves_no_entry(line: HostileLine) -> None:
    asks = line.add_station("plant1", "asks")
    own, others = line.open_order(stations=(line.pc1.uri, asks.uri)), line.open_order()
    told = code_of(lambda: line.pc1.open(line.open_order(stations=(asks.uri,)), "CHIP-1"))
    unknown = code_of(lambda: line.pc1.open("WO-NONE", "CHIP-1"))
    before = line.size()
    assert checked(asks, own).order_code == ""
    assert len(checked(asks, own).highest_ca_der) == 1
    assert (checked(asks, others).order_code, checked(asks, "WO-NONE").order_code) == (told, unknown)
    # A refusal is in the ledger a moment later: this one comes after all that the checks could have left.
    line.refused("request_malformed", lambda: asks.open("a/b", "CHIP-1"), peer=asks.uri)
    left = [entry["code"] for entry in line.entries(before) if entry.get("peer") == asks.uri]
    assert left == ["request_malformed"]


def test_a_check_over_and_over_is_limited_as_every_call(line: HostileLine) -> None:
    many = line.add_station("plant1", "many")
    assert checked(many).highest_ca_der
    assert any(code_of(lambda: checked(many)) == "rate_limited" for _ in range(1_000))
    assert checked(line.pc1).highest_ca_der  # nobody else waits for it


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x0a\x41" + b"a" * 65,
        b"\x0a\x03a/b",
        b"\x0a\x02\xff\xfe",
        b"\x0a\xff",
        b"\x0a\xff\x7f" + b"a" * 16_383,
    ],
    ids=["65 characters", "a slash", "no UTF-8", "cut", "16 kB"],
)
def test_a_check_with_no_name_of_an_order(line: HostileLine, request_bytes: bytes) -> None:
    call = line.pc2.raw("/birthmark.v1.StationService/CheckStation")
    assert call(b"")  # the honest twin
    assert code_of(lambda: call(request_bytes)) == "request_malformed"


def test_a_check_is_for_registered_stations_alone(line: HostileLine) -> None:
    assert code_of(lambda: checked(line.auditor)) == "role_denied"
    gone = line.add_station("plant1", "gone")
    assert checked(gone).highest_ca_der
    line.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=gone.uri), timeout=CALL_TIMEOUT_S)
    assert code_of(lambda: checked(gone)) == "peer_revoked"
