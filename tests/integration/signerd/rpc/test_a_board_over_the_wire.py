from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from birthmark.v1 import admin_pb2, audit_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.paper_board import PaperBoard
from harness.process import wait_until

CHIPS = ("chip:a", "chip:b", "chip:c")


@dataclass
class Line:
    edge: Edge
    station: EdgePeer
    order: str
    keys: dict[str, bytes]

    def open(self, board: PaperBoard) -> signing_pb2.OpenSessionResponse:
        request = signing_pb2.OpenSessionRequest(work_order=self.order, chip_id=board.chip_id)
        return self.station.signing.OpenSession(request, timeout=TIMEOUT_S)

    def request(
        self, board: PaperBoard, session: signing_pb2.OpenSessionResponse
    ) -> signing_pb2.SignCsrRequest:
        csr, evidence = board.request(session.challenge)
        return signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)

    def sign(self, board: PaperBoard) -> tuple[signing_pb2.OpenSessionResponse, signing_pb2.SignCsrResponse]:
        session = self.open(board)
        return session, self.station.signing.SignCsr(self.request(board, session), timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def line(edge: Edge) -> Line:
    station = edge.add_peer("station/plant2/pc1")
    edge.add_sensor()
    order = edge.open_order(station, quantity=len(CHIPS))
    return Line(edge, station, order, edge.installation.personalize(CHIPS))


def test_session_certificate_stamp_and_what_an_auditor_sees(line: Line) -> None:
    board = PaperBoard("chip:a", line.keys["chip:a"])
    session, signed = line.sign(board)
    assert list(session.key_types) == [signing_pb2.KEY_TYPE_P256, signing_pb2.KEY_TYPE_P384]
    assert (list(session.evidence_methods), session.level) == (
        ["hmac-sha256"],
        signing_pb2.EVIDENCE_LEVEL_CHIP,
    )
    assert list(session.required_locks) == ["secure_boot"]
    certificate = x509.load_der_x509_certificate(signed.certificate_der)
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(signed.chain_der[0]))
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key().public_bytes(*form) == board.key.public_key().public_bytes(*form)
    stamp, signature = board.stamp(
        session.challenge, signed.serial_number, signed.certificate_der, signed.settings
    )
    stamping = signing_pb2.RecordStampRequest(session=session.session, stamp=stamp, signature=signature)
    stamped = line.station.signing.RecordStamp(stamping, timeout=TIMEOUT_S)
    again = line.station.signing.RecordStamp(stamping, timeout=TIMEOUT_S)
    assert again.ledger_index == stamped.ledger_index
    assert json.loads(stamped.ledger_entry)["type"] == "stamped"

    audit = line.edge.auditor.audit
    digest = hashlib.sha256(signed.certificate_der).digest()
    by_digest = audit.GetRecord(audit_pb2.GetRecordRequest(certificate_sha256=digest), timeout=TIMEOUT_S)
    by_serial = audit.GetRecord(
        audit_pb2.GetRecordRequest(serial_number=signed.serial_number), timeout=TIMEOUT_S
    )
    record = by_digest.record
    assert by_serial == by_digest
    assert list(by_digest.chain_der) == list(signed.chain_der)
    assert record.state == audit_pb2.RECORD_STATE_STAMPED
    assert (record.station, record.stamp, record.issued_index, record.stamped_index) == (
        line.station.uri,
        stamp,
        signed.ledger_index,
        stamped.ledger_index,
    )
    page = audit.FindRecords(audit_pb2.FindRecordsRequest(chip_id="chip:a"), timeout=TIMEOUT_S)
    assert list(page.records) == [record]
    counts = audit.GetWorkOrder(
        audit_pb2.GetWorkOrderRequest(work_order=line.order), timeout=TIMEOUT_S
    ).counts
    assert (counts.issued, counts.stamped) == (1, 1)
    size = stamped.ledger_index + 1
    inclusion = audit_pb2.GetInclusionProofRequest(index=signed.ledger_index, tree_size=size)
    assert audit.GetInclusionProof(inclusion, timeout=TIMEOUT_S).hashes
    consistency = audit_pb2.GetConsistencyProofRequest(old_size=1, new_size=size)
    assert audit.GetConsistencyProof(consistency, timeout=TIMEOUT_S).hashes


def test_a_certificate_is_made_although_the_station_hung_up(line: Line) -> None:
    board = PaperBoard("chip:b", line.keys["chip:b"])
    request = line.request(board, line.open(board))
    call = line.station.signing.SignCsr.future(request, timeout=TIMEOUT_S)
    seen = len(list(line.edge.entries()))
    log = line.edge.installation.process
    before = log.errors().count('"rpc": "SignCsr"')
    call.cancel()  # type: ignore[no-untyped-call] # the stubs leave it so
    # It may have been cancelled before it left; then it left no trace, and the station sends it again.
    if log.errors().count('"rpc": "SignCsr"') == before:
        first = line.station.signing.SignCsr(request, timeout=TIMEOUT_S)
    wait_until(
        lambda: sum(e["type"] == "issued" and e["chip_id"] == "chip:b" for e in line.edge.entries()) == 1,
        f"the certificate of chip:b after entry {seen}",
    )
    again = line.station.signing.SignCsr(request, timeout=TIMEOUT_S)
    assert again.ledger_index == first.ledger_index


def test_pages_of_records(line: Line) -> None:
    board = PaperBoard("chip:c", line.keys["chip:c"])
    line.sign(board)
    audit = line.edge.auditor.audit
    request = audit_pb2.FindRecordsRequest(work_order=line.order, page_size=1)
    seen = []
    more = True
    while more:
        page = audit.FindRecords(request, timeout=TIMEOUT_S)
        seen += [record.chip_id for record in page.records]
        request.after_record_id = page.records[-1].record_id
        more = page.more
    assert set(seen) >= {"chip:a", "chip:c"}
    assert len(seen) == len(set(seen))
    over = audit_pb2.FindRecordsRequest(page_size=501)
    assert code_of(lambda: audit.FindRecords(over, timeout=TIMEOUT_S)) == "request_malformed"
    unknown = audit_pb2.FindRecordsRequest(state=99)  # type: ignore[arg-type] # what a peer could send
    assert code_of(lambda: audit.FindRecords(unknown, timeout=TIMEOUT_S)) == "request_malformed"
    neither = audit_pb2.GetRecordRequest()
    assert code_of(lambda: audit.GetRecord(neither, timeout=TIMEOUT_S)) == "request_malformed"
    nowhere = audit_pb2.GetRecordRequest(serial_number="NOBODY")
    assert code_of(lambda: audit.GetRecord(nowhere, timeout=TIMEOUT_S)) == "not_found"


def test_a_revoked_certificate_is_on_the_crl(line: Line) -> None:
    request = audit_pb2.GetRecordRequest()
    (record,) = line.edge.auditor.audit.FindRecords(
        audit_pb2.FindRecordsRequest(chip_id="chip:c"), timeout=TIMEOUT_S
    ).records
    request.serial_number = record.serial_number
    revoke = admin_pb2.RevokeRequest(serial_number=record.serial_number, reason="keyCompromise")
    line.edge.admin.Revoke(revoke, timeout=TIMEOUT_S)
    crl_der = line.edge.admin.MakeCrl(admin_pb2.MakeCrlRequest(next_update_h=24), timeout=TIMEOUT_S).crl_der
    crl = x509.load_der_x509_crl(crl_der)
    issuer = x509.load_pem_x509_certificate((line.edge.home / "ca" / "sub-ca.pem").read_bytes()).public_key()
    assert crl.is_signature_valid(issuer)  # type: ignore[arg-type] # the development sub-CA is P-256
    certificate = x509.load_der_x509_certificate(record.certificate_der)
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    board = PaperBoard("chip:c", line.keys["chip:c"])
    assert code_of(lambda: line.open(board)) == "certificate_revoked"
