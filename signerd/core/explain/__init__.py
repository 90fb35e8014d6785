"""What signerd would make of a file, before a line stands: `signerd explain`.

Pure: bytes, a product's rules and a moment in, an `Explanation` out. The file is a stranger's; it is read by
the readers that the daemon uses, and whatever its bytes, `Unrecognized` is all that is raised.

    explanation = explain(data, product, now)
    if not explanation.accepted: ...
"""

from __future__ import annotations

from datetime import datetime

from signerd.core.csr import check_csr
from signerd.core.explain.certificates import explain_certificates
from signerd.core.explain.evidence import Finder, explain_evidence
from signerd.core.explain.form import Certificates, Content, Csr, EvidenceFile, Unrecognized, recognize
from signerd.core.explain.remedies import remedy_for
from signerd.core.explain.report import Explanation, Line, State, shown
from signerd.core.names import KeyType
from signerd.core.product import Product
from signerd.errors import Refused

__all__ = ["Explanation", "Unrecognized", "explain"]


def explain(data: bytes, product: Product | None, now: datetime, find: Finder | None = None) -> Explanation:
    """What would become of the file.

    Args:
        data: the file.
        product: by whose rules; None: by what holds for every product.
        now: aware; at which certificates must be valid.
        find: looks up an attestation key in a list of identities.

    Raises:
        Unrecognized: it is no CSR, certificate, token or evidence.
    """
    content, written = recognize(data)
    explanation = _explain(content, product, now, find)
    line = Line(State.NOTE, f"{len(data)} bytes, read as {written}")
    return Explanation(explanation.kind, (line, *explanation.lines), explanation.methods)


def _explain(content: Content, product: Product | None, now: datetime, find: Finder | None) -> Explanation:
    rules = product.evidence if product is not None else None
    match content:
        case Csr(data):
            return _explain_csr(data, product, now, find)
        case Certificates(certificates):
            lines, verdicts = explain_certificates(certificates, rules, now)
            kind = "a certificate" if len(certificates) == 1 else f"{len(certificates)} certificates"
            return Explanation(kind, tuple(lines), verdicts)
        case EvidenceFile(method, data):
            lines, verdicts = explain_evidence(method, data, rules, now, find)
            return Explanation(f"evidence of method {method}", tuple(lines), verdicts)


def _explain_csr(data: bytes, product: Product | None, now: datetime, find: Finder | None) -> Explanation:
    accepted = product.keys.accept if product is not None else tuple(KeyType)
    try:
        csr = check_csr(data, accepted=accepted)
    except Refused as refusal:
        line = Line(State.WRONG, shown(f"{refusal.code}: {refusal.detail}"), remedy_for(refusal.detail))
        return Explanation("a CSR", (line,))
    lines = [
        Line(State.OK, f"form, self-signature and key ({csr.key_type}); only the key goes further"),
        Line(State.NOTE, f"SHA-256 of the CSR {csr.sha256.hex()}, of its public key {csr.spki_sha256.hex()}"),
    ]
    if csr.attestation is None:
        return Explanation("a CSR", tuple(lines))
    rules = product.evidence if product is not None else None
    inside = csr.attestation
    more, verdicts = explain_evidence(inside.method, inside.evidence, rules, now, find)
    return Explanation(f"a CSR with evidence of method {inside.method} inside", (*lines, *more), verdicts)
