"""The transcript: the one thing that every method signs or MACs (docs/formats.md).

Length framing by CBOR, domain separation by the label, the whole CSR and not only its key, and signerd's
own challenge. signerd builds it; a station never sends one.
"""

from __future__ import annotations

from signerd.core import strict_cbor
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    EvidenceError,
    EvidenceSubmission,
    Method,
    Trust,
    VerifiedEvidence,
)
from signerd.core.strict_cbor import CborError

_LABEL = "birthmark-evidence-v1"


def transcript(challenge: bytes, chip_id: str, csr_sha256: bytes, claims: Claims) -> bytes:
    """`["birthmark-evidence-v1", challenge, chip_id, SHA-256(CSR), firmware, security_state]`."""
    return strict_cbor.encode([_LABEL, challenge, chip_id, csr_sha256, *claims.items()])


async def verify_evidence(
    submission: EvidenceSubmission,
    *,
    methods: dict[str, Method],
    challenge: bytes,
    csr_sha256: bytes,
    trust: Trust,
) -> VerifiedEvidence:
    """Step 4 of issuance: a level and claims, or nothing.

    Args:
        submission: from the station.
        methods: those that the product accepts, by name.
        challenge: signerd's, of this session.
        csr_sha256: of the CSR as received.
        trust: what is known of the session's chip.

    Raises:
        EvidenceError: the method is not accepted, the claims are not claims, or the evidence does not hold.
    """
    method = methods.get(submission.method)
    if method is None:
        raise EvidenceError("the product does not accept this method")
    if len(submission.evidence) > MAX_EVIDENCE_BYTES:
        raise EvidenceError("the evidence is too large")
    try:
        claims = parse_claims(submission.claims)
    except CborError as error:
        raise EvidenceError(f"claims: {error}") from error
    message = transcript(challenge, trust.chip_id, csr_sha256, claims)
    level = await method.verify(message, submission.evidence, trust)
    return VerifiedEvidence(method.name, level, claims)
