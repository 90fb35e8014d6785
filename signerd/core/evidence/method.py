"""What every evidence method takes and gives.

A method is a pure function: the request that the evidence must be over, the evidence's bytes and the trust
material in; `Proved` out, or `EvidenceError` and nothing else, whatever the bytes. A method that rests on a
secret of the company's gives `ProvedIfMac` instead: the key holder has the last word then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.evidence.certificate import Certificate
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.errors import EvidenceError as EvidenceError  # noqa: PLC0414 (methods and who asks them know it from here)
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.key_policy import PublicKey, check_quality
from signerd.core.names import Level, MacQuestion

MAX_EVIDENCE_BYTES = 16384


@dataclass(frozen=True, slots=True)
class EvidenceSubmission:
    """What the station sent, as it sent it."""

    method: str
    claims: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """What the evidence must be over, built by signerd."""

    chip_id: str  # of the session
    csr: bytes  # DER, as received
    spki: bytes  # SubjectPublicKeyInfo of the CSR's key, DER
    claims: Claims
    transcript: bytes
    now: datetime  # aware, UTC
    # For each attestation key and its CAs: raises WeakKeyError, or keeps the key to be looked at elsewhere.
    quality: Callable[[PublicKey], None] = check_quality


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """A chip's attestation key, from a list that an administrator imported."""

    key_id: bytes  # psa-token: instance id; nrf91: device UUID; tpm2: name of the attestation key
    spki: bytes  # SubjectPublicKeyInfo, DER

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """What the import says of the chip."""
        return Anchor.of_key(self.spki), Anchor.imported(self.key_id)


@dataclass(frozen=True, slots=True)
class Trust:
    """What signerd knows beforehand: of the chip, and by the product's rules."""

    personalized: bool  # a secret of the company's was burned into it at a trusted place
    locked: bool  # and its firmware was locked there
    listed: bool  # it stands on this work order's list
    identity: IdentityKey | None  # for this product, method and chip
    rules: EvidenceRules


@dataclass(frozen=True, slots=True)
class Proved:
    """What evidence reached."""

    level: Level
    # Component -> version, for firmware that the evidence itself measured and the product accepts.
    measured: Mapping[str, str] = field(default_factory=dict)
    # The attestation key that signed, SubjectPublicKeyInfo DER; empty where a secret or nothing did.
    attester: bytes = b""
    # Which chip it is; empty where there is nothing beyond the station's word.
    anchors: tuple[Anchor, ...] = ()
    # Only a layer of the chip's firmware states the chip id: other firmware may state another one, and two
    # chips may have the same. Otherwise a vendor, a personalization, an import or a list states it.
    name_is_label: bool = False


@dataclass(frozen=True, slots=True)
class ProvedIfMac:
    """What evidence reaches if, and only if, the key holder says yes to the question."""

    proved: Proved
    question: MacQuestion


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """Evidence that held. Only `verify_evidence` makes it."""

    method: str
    level: Level
    claims: Claims
    measured: Mapping[str, str]
    attester: bytes
    evidence: bytes  # what was verified: as the station sent it, or as the CSR held it
    anchors: tuple[Anchor, ...]  # as in `Proved`
    name_is_label: bool  # as in `Proved`

    @property
    def versions(self) -> dict[str, str]:
        """Component -> version: what was measured, and what was only claimed beside it."""
        return self.claims.versions | dict(self.measured)


class Origin(Enum):
    """Whose word a method's trust rests on."""

    VENDOR = (
        "vendor"  # his CA's, under the product's roots: a chip is not known before it shows its certificate
    )
    COMPANY = "company"  # the company's own: what the registry holds of the chip
    STATION = "station"  # nobody's but the station's


class Entered(Enum):
    """What an administrator may have entered of a chip."""

    PERSONALIZED = "personalized"
    IMPORTED = "imported"


class Verifier(Protocol):
    """The one thing of a method that a station's evidence meets."""

    name: str

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved | ProvedIfMac:
        """What this evidence reaches.

        Args:
            request: what the evidence must be over.
            evidence: at most 16,384 bytes from the station.
            trust: what is known beforehand.

        Raises:
            EvidenceError: it does not hold.
        """
        ...


def _key(_rules: EvidenceRules) -> Level:
    return Level.KEY


def _no_roots(_rules: EvidenceRules) -> tuple[Certificate, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a method is: all that the rest of signerd asks of it beside `verify`."""

    origin: Callable[[EvidenceRules], Origin]  # whose word counts under these rules
    entered: frozenset[Entered] = frozenset()  # what the registry must hold of a chip: one of these
    anchors: frozenset[AnchorKind]  # that its evidence can prove, under the rules that prove most
    takes_chains: bool = False  # its evidence may hold certificates
    reach: Callable[[EvidenceRules], Level] = _key  # the highest level under these rules
    # CAs that it trusts under these rules. They are looked at before a product is added, and shown.
    roots: Callable[[EvidenceRules], tuple[Certificate, ...]] = _no_roots
    # Whom and what it trusts under these rules, for the administrator who adds the product.
    describe: Callable[[EvidenceRules], str]
    shortfall: str  # what is missing where genuine evidence stays below `key`


class Method(Verifier, Protocol):
    """One way to show where a key was born."""

    traits: Traits
