"""One piece of evidence, judged by signerd and by the auditor.

    case = Case("x509", product_text, chip_id, csr, evidence)
    signerd, auditor = both(case)
    assert signerd == auditor, case.report()

A verdict is the level, or the class of the reason for a refusal. Classes are coarse, since the two look in
their own order; a reason that no class knows is an error here, so that none is passed over.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from auditor.core.csr import check_csr as auditors_check_csr
from auditor.core.evidence.appraisal import AppraisalInputs
from auditor.core.evidence.recheck import recheck
from auditor.core.product import ProductRules, read_product
from auditor.errors import CheckFailed, Malformed
from boards import formats
from harness.installation import SENSOR
from signerd.core.certification_request import read_request
from signerd.core.csr import check_csr
from signerd.core.der import DerError
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import EvidenceError, IdentityKey, ProvedIfMac, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import KeyType
from signerd.core.product import parse_product
from signerd.errors import Refused

CHALLENGE = bytes(range(32))
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
# Class -> words of either side. The first that fits counts.
_CLASSES = (
    ("product", r"does not accept this method|no rules for|no roots for a chain|goes with roots"),
    ("signature", r"over the transcript does not verify|key did not sign|signature cannot be checked"
     r"|^the signature does not verify|did not sign it|the signature's scheme"),
    ("session", r"nonce|another session|extraData|of this transcript|is of another CSR"),
    ("chip", r"another chip|not a chip id|attributes? |the device UUID|instance id is not that|names no chip"
     r"|chip id|the certificate's subject|the chip's name|of this kind|the SAN cannot be read"),
    ("time", r"not valid then|expired or not|was not valid"),
    ("purpose", r"for another purpose|not for an attestation key|not an attestation key"),
    ("constraints", r"critical extension|constraints that are not known|is not supported: "),
    ("leaf", r"the leaf is a CA|leaf's key usage|not for signing what a chip says"),
    ("issuer", r"not a CA|no CA|longer than an issuer|an issuer's key usage"),
    ("path", r"does not end at|signed by the next|certificate's signature does not verify|key appears twice"
     r"|root's key|key of a root|chain's length|1 to 6 certificates|not the next one"),
    ("algorithm", r"certificate's signature algorithm|signed by an algorithm"),
    ("key", r"certified key is weak|certified key cannot|neither P-256|RSA exponent|kind that is not allowed"
     r"|kind that no TPM|in its canonical form|in its one form|attestation key cannot be read"
     r"|attestation key is not accepted"),
    ("dice-format", r"CompositeDeviceID"),
    ("dice-state", r"is in state|says that it is not secure"),
    ("dice-layer", r"holds the key of a CA"),
    ("dice", r"DICE|TcbInfo|FWID"),
    ("lifecycle", r"lifecycle"),
    ("implementation", r"implementation"),
    ("identity", r"was imported|never personalized|public one|names a key that signed"),
    ("tpm", r"the key (?:lacks|has)|the key's attributes|another key was certified|certified name"
     r"|not the certified key|certified key is not the CSR"),
    ("form", r"."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one side says."""

    accepted: bool
    level: str  # empty where refused
    reason: str = ""  # class
    words: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Case:
    """Evidence and all that it is judged by."""

    method: str
    product: str  # the product file
    chip_id: str
    csr: bytes
    spki: bytes  # of the CSR's key
    evidence: bytes
    identity: IdentityKey | None = None
    attester: bytes = b""  # SubjectPublicKeyInfo that the record would state
    story: str = ""  # how it was made

    @property
    def transcript(self) -> bytes:
        """What the evidence is over."""
        return transcript_of(self.chip_id, self.csr)

    def report(self) -> str:
        """The case, so that it can become a vector."""
        return json.dumps(
            {
                "method": self.method,
                "product": self.product,
                "chip_id": self.chip_id,
                "csr": self.csr.hex(),
                "evidence": self.evidence.hex(),
                "key_id": self.identity.key_id.hex() if self.identity else None,
                "attester": self.attester.hex(),
                "story": self.story,
            },
            indent=1,
        )


def transcript_of(chip_id: str, csr: bytes) -> bytes:
    """With a challenge that is always the same, and no claims."""
    return formats.transcript(CHALLENGE, chip_id, csr, {}, {})


def product_text(method: str, section: str) -> str:
    """A product with this method alone."""
    return SENSOR.replace('["hmac-sha256"]', f'["{method}"]') + "\n" + section


_NO_PRODUCT = Verdict(accepted=False, level="", reason="product")


@lru_cache(maxsize=256)
def _signerds_rules(product: str) -> EvidenceRules | None:
    try:
        return parse_product(product).evidence
    except Refused:
        return None


@lru_cache(maxsize=256)
def _auditors_rules(product: str) -> ProductRules | None:
    try:
        return read_product(product.encode())
    except Malformed:
        return None


def both(case: Case, now: datetime = NOW) -> tuple[Verdict, Verdict]:
    """signerd's verdict and the auditor's. Of a CSR alone (method `csr`): whether it is accepted."""
    if case.method == "csr":
        return csr_by_signerd(case.csr), csr_by_the_auditor(case.csr)
    return by_signerd(case, now), by_the_auditor(case, now)


def by_signerd(case: Case, now: datetime = NOW) -> Verdict:
    """Anything but `EvidenceError` is an error of the test that calls."""
    rules = _signerds_rules(case.product)
    if rules is None:
        return _NO_PRODUCT
    request = Request(
        chip_id=case.chip_id,
        csr=case.csr,
        spki=case.spki,
        claims=Claims({}, {}),
        transcript=case.transcript,
        now=now,
    )
    trust = Trust(personalized=True, locked=True, listed=True, identity=case.identity, rules=rules)
    try:
        outcome = METHODS[case.method].verify(request, case.evidence, trust)
    except EvidenceError as error:
        return _refused(str(error))
    proved = outcome.proved if isinstance(outcome, ProvedIfMac) else outcome
    return Verdict(accepted=True, level=proved.level.label)


def by_the_auditor(case: Case, now: datetime = NOW) -> Verdict:
    """Anything but `CheckFailed` is an error of the test that calls."""
    rules = _auditors_rules(case.product)
    if rules is None:
        return _NO_PRODUCT
    inputs = AppraisalInputs(
        chip_id=case.chip_id,
        product=rules.name,
        csr=case.csr,
        spki=case.spki,
        transcript=case.transcript,
        attester=case.attester,
        moment=now,
        rules=rules,
    )
    try:
        result = recheck(case.method, inputs, case.evidence)
    except CheckFailed as error:
        # `found` and `expected` too: `CheckFailed` tells them apart from its words.
        return _refused(str(error))
    # What the auditor's count of imported keys compares (`auditor.core.counting`).
    if case.identity is not None and result.key_id not in (b"", case.identity.key_id):
        return _refused("the instance id is not that of the imported key")
    return Verdict(accepted=True, level=result.level)


def csr_by_signerd(data: bytes) -> Verdict:
    """The reasons have no classes: the two read in different orders."""
    try:
        check_csr(data, accepted=tuple(KeyType))
    except Refused as refusal:
        return Verdict(accepted=False, level="", words=str(refusal))
    return Verdict(accepted=True, level="")


def csr_by_the_auditor(data: bytes) -> Verdict:
    """As one that holds a certificate for the CSR's own key."""
    try:
        spki = read_request(data).spki
    except DerError:
        spki = b""
    try:
        auditors_check_csr(data, spki)
    except CheckFailed as error:
        return Verdict(accepted=False, level="", words=str(error))
    return Verdict(accepted=True, level="")


def _refused(words: str) -> Verdict:
    for reason, pattern in _CLASSES:
        if re.search(pattern, words):
            return Verdict(accepted=False, level="", reason=reason, words=words)
    raise AssertionError(f"a refusal without words: {words!r}")


def digest(data: bytes) -> str:
    """For stories."""
    return sha256(data).hexdigest()[:16]
