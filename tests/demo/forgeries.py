"""What a hostile factory tries with a valid station certificate, and what it gets.

Each forgery differs from the honest way in one thing. None may be answered with a certificate, and each
stands in the ledger afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc

from birthmark.v1 import audit_pb2, audit_pb2_grpc, signing_pb2, signing_pb2_grpc
from boards.attesters.psa_token import PsaVendor
from harness.installation import Peer
from harness.paper_board import PaperBoard

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Forgery:
    """One attempt: what it is, the code that signerd has to answer, the call, and for which chip."""

    what: str
    expected: str
    attempt: Callable[[], object]
    chip_id: str | None

    def code(self) -> str:
        """What signerd answered: a code, or `accepted`."""
        try:
            self.attempt()
        except grpc.RpcError as error:
            return str(error.details()) if isinstance(error, grpc.Call) else "no answer"
        return "accepted"


@dataclass(frozen=True, slots=True)
class Hoard:
    """The genuine boards that the forger has put aside. All but the first are of method `psa-token`."""

    spare: PaperBoard
    first: PaperBoard
    second: PaperBoard
    replaced: PaperBoard  # its firmware was replaced, and its secure world measures that
    unlocked: PaperBoard  # its life cycle is not the secured one, and its secure world says so

    @classmethod
    def of(cls, spare: PaperBoard, vendor: PsaVendor) -> Hoard:
        """Fills it from a vendor whose chips the company knows."""

        def board(chip_id: str, **wrong: str) -> PaperBoard:
            return PaperBoard(chip_id, attester=vendor.attester(chip_id, **wrong))

        return cls(
            spare,
            board("SPARE-1"),
            board("SPARE-2"),
            board("SPARE-3", firmware="replaced"),
            board("SPARE-4", lifecycle="unknown"),
        )

    def identities(self) -> list[dict[str, str]]:
        """What the company knows of the chips: it bought them, and they are genuine."""
        boards = (self.first, self.second, self.replaced, self.unlocked)
        lines = [board.attester.identity() for board in boards if board.attester is not None]
        return [line for line in lines if line is not None]


class Forger:
    """A hostile program on the factory's PC. It has the station's key and some genuine boards."""

    def __init__(self, station: Peer, target: str, work_order: str, hoard: Hoard) -> None:
        self._channel = grpc.secure_channel(target, station.credentials())
        self._signing = signing_pb2_grpc.SigningServiceStub(self._channel)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._work_order = work_order
        self._hoard = hoard
        self._genuine = hoard.spare
        # The forger's key, and a guess at the secret.
        self._invented = PaperBoard(hoard.spare.chip_id, bytes(32))

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()

    def with_the_stations_certificate(self) -> list[Forgery]:
        """Attempts on an order that would take another board."""
        chip = self._genuine.chip_id
        return [
            Forgery("a key of its own, evidence made up", "evidence_rejected", self._made_up, chip),
            Forgery("a key of its own, a genuine board's evidence", "evidence_rejected", self._taken, chip),
            Forgery(
                "a genuine board's evidence, of an earlier session", "evidence_rejected", self._replayed, chip
            ),
            Forgery("reading the ledger with a station's certificate", "role_denied", self._read, None),
        ]

    def with_genuine_boards(self) -> list[Forgery]:
        """Attempts that need more than a PC."""
        hoard = self._hoard
        return [
            Forgery(
                "the evidence of two genuine boards changed places",
                "evidence_rejected",
                self._swapped,
                hoard.first.chip_id,
            ),
            Forgery(
                "a genuine board with replaced firmware, where level key is demanded",
                "level_insufficient",
                lambda: self._honest(hoard.replaced),
                hoard.replaced.chip_id,
            ),
            Forgery(
                "a genuine board whose token says lifecycle unknown",
                "evidence_rejected",
                lambda: self._honest(hoard.unlocked),
                hoard.unlocked.chip_id,
            ),
        ]

    def when_the_order_is_full(self) -> list[Forgery]:
        """One more genuine board than was ordered."""
        fifth = self._hoard.second
        what = "a fifth genuine board on an order of four"
        return [Forgery(what, "order_full", lambda: self._honest(fifth), fifth.chip_id)]

    def _open(self, board: PaperBoard) -> signing_pb2.OpenSessionResponse:
        return self._signing.OpenSession(
            signing_pb2.OpenSessionRequest(work_order=self._work_order, chip_id=board.chip_id),
            timeout=TIMEOUT_S,
        )

    def _sign(
        self, session: signing_pb2.OpenSessionResponse, csr: bytes, evidence: signing_pb2.Evidence
    ) -> object:
        return self._signing.SignCsr(
            signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence),
            timeout=TIMEOUT_S,
        )

    def _honest(self, board: PaperBoard) -> object:
        """The honest way: what is wrong is the board."""
        session = self._open(board)
        return self._sign(session, *board.request(session.challenge))

    def _made_up(self) -> object:
        return self._honest(self._invented)

    def _taken(self) -> object:
        session = self._open(self._genuine)
        _, evidence = self._genuine.request(session.challenge)
        return self._sign(session, self._invented.csr(), evidence)

    def _replayed(self) -> object:
        csr, evidence = self._genuine.request(self._open(self._genuine).challenge)
        return self._sign(self._open(self._genuine), csr, evidence)

    def _swapped(self) -> object:
        first, second = self._hoard.first, self._hoard.second
        session = self._open(first)
        _, evidence = second.request(session.challenge)
        return self._sign(session, first.csr(), evidence)

    def _read(self) -> object:
        return self._audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S)
