"""Method `hmac-sha256`: a secret that only this chip holds takes part.

The chip's key is HMAC-SHA-256(master key, label ‖ chip id), burned at a trusted place. It is derived in
the key holder for each question and stored nowhere.
"""

from __future__ import annotations

from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.evidence.method import (
    Entered,
    EvidenceError,
    Origin,
    Proved,
    ProvedIfMac,
    Request,
    Traits,
    Trust,
)
from signerd.core.names import Level, MacKey, MacQuestion

_MAC_BYTES = 32


class HmacSha256:
    """HMAC-SHA-256 (RFC 2104, FIPS 180-4) over the transcript."""

    name = "hmac-sha256"
    traits = Traits(
        origin=lambda _rules: Origin.COMPANY,
        entered=frozenset({Entered.PERSONALIZED}),
        anchors=frozenset({AnchorKind.PERSONALIZED}),
        describe=lambda _rules: "chips with a secret of yours; level key if they were locked before",
        shortfall="the chip was not personalized as locked",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> ProvedIfMac:
        """`key` for a chip that was locked when it was personalized, else `chip`."""
        if not trust.personalized:
            raise EvidenceError("the chip was never personalized")
        # A shorter MAC would be a prefix to guess byte by byte.
        if len(evidence) != _MAC_BYTES:
            raise EvidenceError("the MAC is not of 32 bytes")
        return ProvedIfMac(
            Proved(
                Level.KEY if trust.locked else Level.CHIP, anchors=(Anchor.personalized(request.chip_id),)
            ),
            MacQuestion(request.chip_id, MacKey.CHIP, "sha256", request.transcript, evidence),
        )
