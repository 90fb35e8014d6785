"""Attacks on evidence, each beside the honest request from which it differs in one thing.

    attempts = Attempts(line)
    order, board = attempts.order("psa-token"), line.board("psa-token")
    attempts.refused(order, board, attempts.faulty(board, lifecycle="unknown").request)

A forgery is a function of the challenge that gives what `SignCsr` is called with. It must be refused with
the code alone, the refusal must stand in the ledger with this order, chip and CSR, and then the genuine board
must get its certificate in the very same session: nothing but the forgery was wrong, and trying it changed
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from birthmark.v1 import admin_pb2
from birthmark.v1 import signing_pb2 as pb
from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.port import Attester, Vendor
from harness.hostile_line import CALL_TIMEOUT_S, HostileLine, Station, code_of
from harness.paper_board import PaperBoard
from harness.process import wait_until

Forgery = Callable[[bytes], tuple[bytes, pb.Evidence]]


class Attempts:
    """What a hostile factory tries at a line; `line.pc1` is its station unless another one is named."""

    def __init__(self, line: HostileLine) -> None:
        self.line = line

    def order(self, *methods: str, level: str = "key", vendor: Vendor | None = None, **terms: Any) -> str:
        """A work order whose product accepts these methods; `terms` are those of `order_toml`."""
        return self.line.open_order(product=self.line.product(*methods, vendor=vendor), level=level, **terms)

    def vendor_of(self, board: PaperBoard, vendor: Vendor | None = None) -> Vendor:
        """Who made the board's root of trust; `vendor` if it is not the usual one."""
        if board.method == "hmac-sha256":
            assert board.chip_key is not None
            return HmacVendor({board.chip_id: board.chip_key})
        return self.line.silicon_of(board.method, vendor).vendor

    def faulty(self, board: PaperBoard, *, vendor: Vendor | None = None, **wrong: Any) -> PaperBoard:
        """The same board and key, with a root of trust that does one thing wrong."""
        return replace(board, attester=self.vendor_of(board, vendor).attester(board.chip_id, **wrong))

    def refused(
        self,
        order: str,
        board: PaperBoard,
        forgery: Forgery,
        code: str = "evidence_rejected",
        *,
        answered: bool = True,
    ) -> None:
        """The forgery is refused, and the genuine board gets its certificate in the same session.

        Args:
            order: on which.
            board: the genuine one, for whose chip the session is.
            forgery: what is sent in its place.
            code: of the refusal.
            answered: False where the genuine board would be refused as well; nothing more is then sent.
        """
        session = self.line.pc1.open(order, board.chip_id)
        self.refused_in(session, order, board.chip_id, forgery(session.challenge), code)
        if answered:
            signed = self.line.pc1.sign(session, *board.request(session.challenge))
            assert self.issued(signed)["chip_id"] == board.chip_id

    def refused_in(
        self,
        session: pb.OpenSessionResponse,
        order: str | None,
        chip_id: str | None,
        sent: tuple[bytes, pb.Evidence],
        code: str = "evidence_rejected",
        *,
        station: Station | None = None,
    ) -> None:
        """What was sent is refused with the code alone, and the ledger says for what."""
        by = station or self.line.pc1
        before = self.line.size()
        said = code_of(lambda: by.sign(session, *sent))
        assert said == code, f"{said or 'answered'}, and not {code}"
        expected = {
            "type": "refused",
            "call": "SignCsr",
            "code": code,
            "count": 1,
            "peer": by.uri,
            "work_order": order,
            "chip_id": chip_id,
            "csr_sha256": hashlib.sha256(sent[0]).hexdigest(),
        }
        wait_until(
            lambda: any(expected.items() <= entry.items() for entry in self.line.entries(before)),
            f"the refusal {code} of {chip_id} in the ledger",
        )

    def issued(self, signed: pb.SignCsrResponse) -> dict[str, Any]:
        """The ledger's entry of a certificate."""
        (entry,) = (
            entry
            for entry in self.line.entries(signed.ledger_index)
            if entry.get("certificate_sha256") == hashlib.sha256(signed.certificate_der).hexdigest()
            and entry["type"] == "issued"
        )
        return entry

    def revoke(self, signed: pb.SignCsrResponse) -> None:
        """An administrator revokes a certificate."""
        request = admin_pb2.RevokeRequest(serial_number=signed.serial_number, reason="keyCompromise")
        self.line.admin.Revoke(request, timeout=CALL_TIMEOUT_S)


def attester_of(board: PaperBoard) -> Attester:
    """The root of trust of a board that has one."""
    assert board.attester is not None, "a board without a root of trust"
    return board.attester


def evidence(board: PaperBoard, made: bytes, *, method: str | None = None) -> pb.Evidence:
    """These evidence bytes beside the board's own claims."""
    return pb.Evidence(method=method or board.method, claims=board.claims(), evidence=made)
