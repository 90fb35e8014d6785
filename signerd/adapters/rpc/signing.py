"""`SigningService`: what a station may ask.

Field bounds are checked here; every decision is `issuance`'s or `stamping`'s.
"""

from __future__ import annotations

import hashlib
from typing import Any

import grpc

from birthmark.v1 import signing_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.gate import Call, Gate, Subject
from signerd.core.evidence.method import MAX_EVIDENCE_BYTES, EvidenceSubmission
from signerd.core.names import PeerName, Role, is_chip_id, is_name
from signerd.core.seen_checkpoint import MAX_SEEN_CHECKPOINT
from signerd.core.session import MAX_SESSION_BYTES, SessionSealer
from signerd.issuance import Issuance
from signerd.program import is_version
from signerd.seen_checkpoints import SeenCheckpoints
from signerd.stamping import Stamping

SERVICE = "birthmark.v1.SigningService"
MAX_METHOD = 32  # characters
MAX_CLAIMS = 4096  # bytes, as the two below
MAX_STAMP = 4096
MAX_SIGNATURE = 512


class SigningService:
    """The three calls of a station."""

    def __init__(
        self, issuance: Issuance, stamping: Stamping, sealer: SessionSealer, seen: SeenCheckpoints
    ) -> None:
        """`sealer` only names the board of a refused call; whether a session counts is not decided here."""
        self._issuance = issuance
        self._stamping = stamping
        self._sealer = sealer
        self._seen = seen

    def handler(self, gate: Gate[PeerName]) -> grpc.GenericRpcHandler[Any, Any]:
        """The service behind the gate."""
        station = Role.STATION
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "OpenSession": gate.unary(
                    Call(
                        "OpenSession",
                        signing_pb2.OpenSessionRequest,
                        self.open_session,
                        station,
                        self._opened_subject,
                    )
                ),
                "SignCsr": gate.unary(
                    Call("SignCsr", signing_pb2.SignCsrRequest, self.sign_csr, station, self._signed_subject)
                ),
                "RecordStamp": gate.unary(
                    Call(
                        "RecordStamp",
                        signing_pb2.RecordStampRequest,
                        self.record_stamp,
                        station,
                        lambda request: self._session_subject(request.session),
                    )
                ),
            },
        )

    async def open_session(
        self, peer: PeerName, request: signing_pb2.OpenSessionRequest
    ) -> signing_pb2.OpenSessionResponse:
        """See `SeenCheckpoints.check` and `Issuance.open_session`."""
        fields.version(request.agent_version)  # of its form, or nothing is opened
        seen = fields.size(request.seen_checkpoint, "seen_checkpoint", most=MAX_SEEN_CHECKPOINT)
        await self._seen.check(peer.uri, seen)
        opened = await self._issuance.open_session(
            peer, fields.name(request.work_order, "work_order"), fields.chip_id(request.chip_id)
        )
        return signing_pb2.OpenSessionResponse(
            session=opened.session,
            challenge=opened.challenge,
            expires_at=fields.timestamp(opened.expires_at),
            key_types=[fields.KEY_TYPES[key_type] for key_type in opened.key_types],
            evidence_methods=opened.methods,
            level=fields.LEVELS[opened.level],
            minimum_firmware=opened.minimum_firmware,
            required_locks=opened.required_locks,
            bundle_sha256=opened.bundle_sha256 or b"",
            succession=await self._seen.succession(),
        )

    async def sign_csr(
        self, peer: PeerName, request: signing_pb2.SignCsrRequest
    ) -> signing_pb2.SignCsrResponse:
        """See `Issuance.sign_csr`. The CSR's own bound is the CSR check's, with a code of its own."""
        session = fields.size(request.session, "session", least=1, most=MAX_SESSION_BYTES)
        evidence = request.evidence
        if not 1 <= len(evidence.method) <= MAX_METHOD:
            raise fields.malformed("evidence.method is missing or too long")
        submission = EvidenceSubmission(
            method=evidence.method,
            claims=fields.size(evidence.claims, "evidence.claims", most=MAX_CLAIMS),
            evidence=fields.size(evidence.evidence, "evidence.evidence", most=MAX_EVIDENCE_BYTES),
        )
        answer = await self._issuance.sign_csr(
            peer, session, request.csr_der, submission, agent=fields.version(request.agent_version)
        )
        return signing_pb2.SignCsrResponse(
            certificate_der=answer.record.certificate_der,
            chain_der=answer.chain,
            serial_number=answer.record.place.serial_number,
            settings=answer.record.settings,
            ledger_index=answer.position.index,
            receipt=answer.position.receipt,
            ledger_entry=answer.position.entry,
            stamped=answer.stamped,
            succession=await self._seen.succession(),
        )

    async def record_stamp(
        self, peer: PeerName, request: signing_pb2.RecordStampRequest
    ) -> signing_pb2.RecordStampResponse:
        """See `Stamping.record_stamp`."""
        position = await self._stamping.record_stamp(
            peer,
            fields.size(request.session, "session", least=1, most=MAX_SESSION_BYTES),
            fields.size(request.stamp, "stamp", least=1, most=MAX_STAMP),
            fields.size(request.signature, "signature", least=1, most=MAX_SIGNATURE),
        )
        return signing_pb2.RecordStampResponse(
            ledger_index=position.index,
            receipt=position.receipt,
            ledger_entry=position.entry,
            succession=await self._seen.succession(),
        )

    def _opened_subject(self, request: signing_pb2.OpenSessionRequest) -> Subject:
        return Subject(
            work_order=request.work_order if is_name(request.work_order) else None,
            chip_id=request.chip_id if is_chip_id(request.chip_id) else None,
            agent=request.agent_version if is_version(request.agent_version) else None,
        )

    def _signed_subject(self, request: signing_pb2.SignCsrRequest) -> Subject:
        board = self._session_subject(request.session)
        agent = request.agent_version if is_version(request.agent_version) else None
        return Subject(board.work_order, board.chip_id, hashlib.sha256(request.csr_der).digest(), agent)

    def _session_subject(self, sealed: bytes) -> Subject:
        session = self._sealer.open(sealed) if len(sealed) <= MAX_SESSION_BYTES else None
        return Subject() if session is None else Subject(session.work_order, session.chip_id)
