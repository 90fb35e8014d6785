"""What evidence is appraised by, and the result (RFC 9334 §8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from auditor.core.anchors import Anchor
from auditor.core.books import Basis
from auditor.core.codes import Code
from auditor.core.product import ProductRules
from auditor.errors import CheckFailed

MAX_EVIDENCE = 16_384  # bytes


@dataclass(frozen=True, slots=True)
class AppraisalInputs:
    """What the evidence must be over, and by what it is measured. All of it follows from the ledger, but for
    `attester`, whose digest does."""

    chip_id: str
    product: str
    csr: bytes  # DER, as the board made it
    spki: bytes  # of the certified key, DER
    transcript: bytes
    attester: bytes  # SubjectPublicKeyInfo of the key that signed, as the record states it; empty: none
    moment: datetime  # at which certificates must have been valid
    rules: ProductRules


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """What evidence shows on its own."""

    basis: Basis
    level: str  # with a MAC: if the MAC holds, at most
    measured: Mapping[str, str] = field(default_factory=dict)  # component to version, where that counted
    attester: bytes = b""  # SubjectPublicKeyInfo of the key that signed
    imported: bool = False  # that key is the chip's because the company says so, and no certificate does
    key_id: bytes = b""  # by which the evidence itself names that key, where it does
    anchors: tuple[Anchor, ...] = ()  # that it proves; of an imported key those that follow from the evidence
    rests_on: str = ""  # what the chip must have been counted under (`auditor.core.counting`)


def false(detail: str, expected: str = "", found: str = "") -> CheckFailed:
    """The evidence does not hold."""
    return CheckFailed(Code.EVIDENCE_FALSE, f"evidence: {detail}", expected=expected, found=found[:200])
