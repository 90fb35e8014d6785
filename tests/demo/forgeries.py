"""What a hostile factory tries with a valid station certificate, and what it gets.

Each forgery differs from the honest way in one thing. None may be answered with a certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc

from birthmark.v1 import audit_pb2, audit_pb2_grpc, signing_pb2, signing_pb2_grpc
from harness.installation import Peer
from harness.paper_board import PaperBoard

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Forgery:
    """One attempt: what it is, the code that signerd has to answer, and the call."""

    what: str
    expected: str
    attempt: Callable[[], object]

    def code(self) -> str:
        """What signerd answered: a code, or `accepted`."""
        try:
            self.attempt()
        except grpc.RpcError as error:
            return str(error.details()) if isinstance(error, grpc.Call) else "no answer"
        return "accepted"


class Forger:
    """A hostile program on the factory's PC. It has the station's key and one genuine spare chip."""

    def __init__(self, station: Peer, target: str, work_order: str, genuine: PaperBoard) -> None:
        self._channel = grpc.secure_channel(target, station.credentials())
        self._signing = signing_pb2_grpc.SigningServiceStub(self._channel)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._work_order = work_order
        self._genuine = genuine
        self._invented = PaperBoard(genuine.chip_id, bytes(32))  # the forger's key, and a guess at the secret

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()

    def while_places_are_left(self) -> list[Forgery]:
        """Attempts on an order that would take another board."""
        return [
            Forgery("a key of its own, evidence made up", "evidence_rejected", self._made_up),
            Forgery("a key of its own, a genuine board's evidence", "evidence_rejected", self._swapped),
            Forgery("a genuine board's evidence, of an earlier session", "evidence_rejected", self._replayed),
            Forgery("reading the ledger with a station's certificate", "role_denied", self._read),
        ]

    def when_the_order_is_full(self) -> list[Forgery]:
        """One more genuine board than was ordered."""
        return [Forgery("a fifth genuine board on an order of four", "order_full", self._honest)]

    def _open(self) -> signing_pb2.OpenSessionResponse:
        return self._signing.OpenSession(
            signing_pb2.OpenSessionRequest(work_order=self._work_order, chip_id=self._genuine.chip_id),
            timeout=TIMEOUT_S,
        )

    def _sign(
        self, session: signing_pb2.OpenSessionResponse, csr: bytes, evidence: signing_pb2.Evidence
    ) -> object:
        return self._signing.SignCsr(
            signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence),
            timeout=TIMEOUT_S,
        )

    def _honest(self) -> object:
        session = self._open()
        return self._sign(session, *self._genuine.request(session.challenge))

    def _made_up(self) -> object:
        session = self._open()
        return self._sign(session, *self._invented.request(session.challenge))

    def _swapped(self) -> object:
        session = self._open()
        _, evidence = self._genuine.request(session.challenge)
        return self._sign(session, self._invented.csr(), evidence)

    def _replayed(self) -> object:
        csr, evidence = self._genuine.request(self._open().challenge)
        return self._sign(self._open(), csr, evidence)

    def _read(self) -> object:
        return self._audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S)
