"""What evidence that was recorded says of its chip, read again years later.

Without a clock and without judging: a chain was judged when its record was made, and what it states is stated
for good. For upgrades of a database from the time before anchors.

    anchors, label = stored_anchors(StoredEvidence(…))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signerd.core.anchors import Anchor
from signerd.core.evidence import tpm2, x509
from signerd.core.evidence.rules import EvidenceRules


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Of one record."""

    method: str
    evidence: bytes  # as verified then
    chip_id: str
    attester: bytes  # SubjectPublicKeyInfo of the attestation key; empty where none signed
    key_id: bytes | None  # under which that key was imported for the chip, where it was
    # Of the product's revision; asked only where the evidence has a vendor's chain.
    rules: Callable[[], EvidenceRules]


@dataclass(frozen=True, slots=True)
class ShownChip:
    """What it says."""

    anchors: tuple[Anchor, ...]
    name_is_label: bool = False


def shown_by(stored: StoredEvidence) -> ShownChip:
    """The anchors that the method proves today by the same evidence.

    Raises:
        EvidenceError: the evidence is not of its form.
        Refused: `invalid`: the product's revision cannot be read.
    """
    match stored.method:
        case "none":
            return ShownChip(())
        case "hmac-sha256":
            return ShownChip((Anchor.personalized(stored.chip_id),))
        case "psa-token" if not stored.attester:
            return ShownChip((Anchor.personalized(stored.chip_id),))
        case "x509" | "tpm2":
            return _certified(stored)
        case _:
            return ShownChip(_of_key(stored))


def _certified(stored: StoredEvidence) -> ShownChip:
    """A chip of which a vendor's chain speaks; without roots a TPM's key was imported."""
    rules = stored.rules()
    if stored.method == "x509" and rules.x509 is not None:
        chip = x509.recorded_chip(stored.evidence, rules.x509)
    elif stored.method == "tpm2" and rules.tpm2.roots:
        chip = tpm2.recorded_chip(stored.evidence, rules.tpm2)
    else:
        return ShownChip(_of_key(stored))
    imported = () if stored.key_id is None else _of_key(stored)
    return ShownChip(tuple(sorted({*chip.anchors, *imported})), chip.name_is_label)


def _of_key(stored: StoredEvidence) -> tuple[Anchor, ...]:
    """An attestation key that was imported for the chip, or certified."""
    imported = () if stored.key_id is None else (Anchor.imported(stored.key_id),)
    return (Anchor.of_key(stored.attester), *imported) if stored.attester else imported
