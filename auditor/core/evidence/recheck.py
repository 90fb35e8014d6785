"""Evidence of any method, verified once more."""

from __future__ import annotations

from collections.abc import Callable

from auditor.core.anchors import personalized
from auditor.core.books import Basis
from auditor.core.entry import CHIP_KEY
from auditor.core.evidence import nrf91, psa_token, tpm2, x509
from auditor.core.evidence.appraisal import AppraisalInputs, AttestationResult, false

_MAC_SIZE = 32  # bytes


def recheck(method: str, inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """What the evidence shows.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    if method not in inputs.rules.methods:
        raise false("the product does not accept this method", ", ".join(inputs.rules.methods), method)
    check = _CHECKS.get(method)
    if check is None:
        raise false("a method that is not known here", found=method)
    return check(inputs, evidence)


def _hmac(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """The MAC's key never leaves the HSM: its size is all that can be seen here."""
    if len(evidence) != _MAC_SIZE:
        raise false("the MAC's size", f"{_MAC_SIZE} bytes", str(len(evidence)))
    return AttestationResult(Basis.MAC, "key", anchors=personalized(inputs.chip_id), rests_on=CHIP_KEY)


def _none(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:  # noqa: ARG001
    if evidence:
        raise false("method none, and yet there is evidence")
    return AttestationResult(Basis.WORD, "none")


_CHECKS: dict[str, Callable[[AppraisalInputs, bytes], AttestationResult]] = {
    "hmac-sha256": _hmac,
    "x509": x509.check,
    "psa-token": psa_token.check,
    "nrf91": nrf91.check,
    "tpm2": tpm2.check,
    "none": _none,
}
