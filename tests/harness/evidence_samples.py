"""Genuine evidence of each method over a CSR of its own, with the trust that it holds under.

    sample = make_sample("psa-token")
    assert sample.verify().level is Level.KEY
    replace(sample, evidence=b"…").verify()          # raises EvidenceError

For the parsers' fuzzing and for benchmarks: no signerd runs, and the key holder is a master key in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from boards import formats, keys
from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Attester, Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.installation import SENSOR
from signerd.core.chip_key import derive_chip_key
from signerd.core.csr import VerifiedCsr, check_csr
from signerd.core.evidence import METHODS
from signerd.core.evidence.method import EvidenceSubmission, IdentityKey, Trust, VerifiedEvidence
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.names import KeyType, MacKey, MacQuestion
from signerd.core.product import parse_product

MASTER_KEY = secrets.token_bytes(32)
CHIP_IDS = {"nrf91": "50363154-3931-44f0-8022-121b6401627d"}  # elsewhere CHIP-000001
FIRMWARE = {"app": ("1.2.0", hashlib.sha256(b"app").digest())}
LOCKS = {"secure_boot": True}


def chip_key(chip_id: str, key: MacKey = MacKey.CHIP, hash_name: str = "sha256") -> bytes:
    """What a personalization with `MASTER_KEY` burns."""

    def mac(message: bytes) -> bytes:
        return hmac.digest(MASTER_KEY, message, "sha256")

    return derive_chip_key(mac, chip_id, key, hash_name)


async def check_mac(question: MacQuestion) -> bool:
    """As the key holder answers."""
    key = chip_key(question.chip_id, question.key, question.hash)
    return hmac.compare_digest(hmac.digest(key, question.message, question.hash), question.mac)


@dataclass(frozen=True, slots=True)
class EvidenceSample:
    """What `verify_evidence` takes, all of it genuine."""

    method: str
    chip_id: str
    challenge: bytes
    csr: VerifiedCsr
    claims: bytes
    evidence: bytes
    trust: Trust
    now: datetime

    def verify(self) -> VerifiedEvidence:
        """Raises EvidenceError."""
        return asyncio.run(self.verified())

    async def verified(self) -> VerifiedEvidence:
        """Raises EvidenceError."""
        return await verify_evidence(
            EvidenceSubmission(self.method, self.claims, self.evidence),
            methods=METHODS,
            challenge=self.challenge,
            chip_id=self.chip_id,
            csr=self.csr,
            trust=self.trust,
            now=self.now,
            check_mac=check_mac,
        )


def _hmac_vendor(chip_id: str) -> Vendor:
    return HmacVendor({chip_id: chip_key(chip_id)})


VENDORS: Mapping[str, Callable[[str], Vendor]] = {
    "hmac-sha256": _hmac_vendor,
    "x509": lambda _chip_id: X509Vendor(),
    "psa-token": lambda _chip_id: PsaVendor(),
    "nrf91": lambda _chip_id: Nrf91Vendor(),
    "tpm2": lambda _chip_id: Tpm2Vendor(),
}


def rules_for(method: str, section: str) -> EvidenceRules:
    """The rules of a product that accepts this method alone."""
    text = SENSOR.replace('["hmac-sha256"]', f'["{method}"]')
    return parse_product(f"{text}\n{section}").evidence


def identity_of(attester: Attester) -> IdentityKey | None:
    """The line of an identity list, as the registry keeps it."""
    line = attester.identity()
    if line is None:
        return None
    key = load_pem_public_key(line["public_key"].encode())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return IdentityKey(bytes.fromhex(line["key_id"]), spki)


def make_sample(method: str) -> EvidenceSample:
    """A genuine one, with keys of its own."""
    chip_id = CHIP_IDS.get(method, "CHIP-000001")
    vendor = VENDORS[method](chip_id)
    attester = vendor.attester(chip_id)
    challenge = secrets.token_bytes(32)
    csr_der = keys.make_csr(keys.make_key("p256"), chip_id)
    transcript = formats.transcript(challenge, chip_id, csr_der, FIRMWARE, LOCKS)
    return EvidenceSample(
        method=method,
        chip_id=chip_id,
        challenge=challenge,
        csr=check_csr(csr_der, accepted=tuple(KeyType)),
        claims=formats.claims(FIRMWARE, LOCKS),
        evidence=attester.attest(transcript, csr_der),
        trust=Trust(
            personalized=method == "hmac-sha256",
            locked=True,
            listed=False,
            identity=identity_of(attester),
            rules=rules_for(method, vendor.product_section()),
        ),
        now=datetime.now(UTC),
    )
