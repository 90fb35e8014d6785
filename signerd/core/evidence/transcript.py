"""The transcript: the one thing that every method signs or MACs (docs/formats.md).

Length framing by CBOR, domain separation by the label, the whole CSR and not only its key, and signerd's
own challenge. signerd builds it; a station never sends one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from signerd.core import strict_cbor
from signerd.core.csr import VerifiedCsr
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.evidence.errors import ClaimsError
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    EvidenceError,
    EvidenceSubmission,
    ProvedIfMac,
    Request,
    Trust,
    VerifiedEvidence,
    Verifier,
)
from signerd.core.key_policy import PublicKey, check_quality
from signerd.core.names import MacQuestion
from signerd.core.strict_cbor import CborError

_LABEL = "birthmark-evidence-v1"


def transcript(challenge: bytes, chip_id: str, csr_digest: bytes, claims: Claims) -> bytes:
    """`["birthmark-evidence-v1", challenge, chip_id, csr_digest, firmware, security_state]`."""
    return strict_cbor.encode([_LABEL, challenge, chip_id, csr_digest, *claims.items()])


async def verify_evidence(
    submission: EvidenceSubmission,
    *,
    methods: Mapping[str, Verifier],
    challenge: bytes,
    chip_id: str,
    csr: VerifiedCsr,
    trust: Trust,
    now: datetime,
    check_mac: Callable[[MacQuestion], Awaitable[bool]],
    quality: Callable[[PublicKey], None] = check_quality,
) -> VerifiedEvidence:
    """Step 4 of issuance: a level and claims, or nothing.

    Args:
        submission: from the station.
        methods: all that there are, by name; those that count are in `trust.rules`.
        challenge: signerd's, of this session.
        chip_id: of the session.
        csr: as step 3 left it.
        trust: what is known beforehand of the chip, and the product's rules.
        now: aware, UTC.
        check_mac: asks the key holder.
        quality: as in `Request`.

    Raises:
        ClaimsError: the claims are not of their form.
        EvidenceError: the method is not accepted, there is evidence inside the CSR and beside it, or the
            evidence does not hold.
    """
    if submission.method not in trust.rules.methods:
        raise EvidenceError("the product does not accept this method")
    evidence = _evidence(submission, csr)
    try:
        claims = parse_claims(submission.claims)
    except CborError as error:
        raise ClaimsError(f"claims: {error}") from error
    request = Request(
        chip_id=chip_id,
        csr=csr.der,
        spki=csr.spki,
        claims=claims,
        transcript=transcript(challenge, chip_id, csr.evidence_digest, claims),
        now=now,
        quality=quality,
    )
    outcome = methods[submission.method].verify(request, evidence, trust)
    if isinstance(outcome, ProvedIfMac):
        if not await check_mac(outcome.question):
            raise EvidenceError("the MAC is wrong")
        outcome = outcome.proved
    for name, version in outcome.measured.items():
        if name in claims.firmware and claims.firmware[name][0] != version:
            raise EvidenceError(f"firmware {name} claims another version than was measured")
    return VerifiedEvidence(
        submission.method,
        outcome.level,
        claims,
        outcome.measured,
        outcome.attester,
        evidence,
        outcome.anchors,
        outcome.name_is_label,
    )


def _evidence(submission: EvidenceSubmission, csr: VerifiedCsr) -> bytes:
    """The one piece of evidence: as the station sent it, or as the CSR holds it."""
    inside = csr.attestation
    if inside is None:
        evidence = submission.evidence
    elif submission.evidence:
        # Which of the two counts would be the station's choice.
        raise EvidenceError("there is evidence inside the CSR and beside it")
    elif submission.method != inside.method:
        raise EvidenceError(f"the evidence inside the CSR is of method {inside.method}")
    else:
        evidence = inside.evidence
    if len(evidence) > MAX_EVIDENCE_BYTES:
        raise EvidenceError("the evidence is too large")
    return evidence
