"""Anchors: what tells one chip from another, and what neither its firmware nor its factory can change.

An anchor is (kind, issuer, value). It counts only where the vendor's CA that certified the chip, or a trusted
import, states it. Guarantees that two anchors are equal exactly if they are the same statement: keys are in
one encoding, hexadecimal is lower-case, "no issuer" is the empty text.

    Anchor.of_key(spki)                             the chip's own certified or imported key
    Anchor.stated(AnchorKind.SERIAL, "S1", ca_spki) what the CA with this key says of the chip

docs/formats.md, "Anchors", has the text form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_ANCHORS = 32  # of one piece of evidence: a chain has six certificates
MAX_VALUE = 512  # characters; a UEID of 33 bytes takes 66, a serial as a rule cut it at most 64


class AnchorKind(StrEnum):
    """What an anchor's value is."""

    KEY = "key"  # hex SHA-256 of a SubjectPublicKeyInfo; no issuer
    UEID = "ueid"  # hex
    SERIAL = "serial"  # text, as the product's rule for the chip id cut it
    PERSONALIZED = "personalized"  # chip id under which a trusted personalization burned a secret; no issuer
    IMPORTED = "imported"  # hex key id under which an attestation key was imported; no issuer


_STATED = frozenset({AnchorKind.UEID, AnchorKind.SERIAL})


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """One anchor. `issuer` is the hex SHA-256 of the SubjectPublicKeyInfo of who states it, or empty."""

    kind: AnchorKind
    issuer: str
    value: str

    @classmethod
    def of_key(cls, spki: bytes) -> Anchor:
        """A key as an anchor. `spki` is its SubjectPublicKeyInfo, DER, in its one encoding."""
        return cls(AnchorKind.KEY, "", spki_sha256(spki))

    @classmethod
    def stated(cls, kind: AnchorKind, value: str, issuer_spki: bytes) -> Anchor:
        """A serial or UEID, as the holder of the key `issuer_spki` certified it."""
        return cls(kind, spki_sha256(issuer_spki), value)

    @classmethod
    def personalized(cls, chip_id: str) -> Anchor:
        """The chip id under which a trusted personalization burned a secret."""
        return cls(AnchorKind.PERSONALIZED, "", chip_id)

    @classmethod
    def imported(cls, key_id: bytes) -> Anchor:
        """The key id of an imported attestation key."""
        return cls(AnchorKind.IMPORTED, "", key_id.hex())


def spki_sha256(spki: bytes) -> str:
    """How anchors name a key."""
    return hashlib.sha256(spki).hexdigest()


def entry_form(anchors: Iterable[Anchor]) -> tuple[tuple[str, str | None, str], ...]:
    """Anchors as they stand in ledger entries: sorted, each once, null where there is no issuer."""
    return tuple((one.kind.value, one.issuer or None, one.value) for one in sorted(set(anchors)))


def to_text(anchors: Iterable[Anchor]) -> str:
    """The array of ledger entries as JSON, as records keep it."""
    return json.dumps(entry_form(anchors), ensure_ascii=False, separators=(",", ":"))


def from_text(text: str) -> tuple[Anchor, ...]:
    """What `to_text` wrote.

    Raises:
        ValueError: it wrote no such text.
    """
    items = json.loads(text)
    if not isinstance(items, list) or len(items) > MAX_ANCHORS:
        raise ValueError(f"anchors are an array of at most {MAX_ANCHORS}")
    anchors = tuple(_anchor(item) for item in items)
    if to_text(anchors) != text:
        raise ValueError("anchors are not in their one form: sorted, each once")
    return anchors


def _anchor(item: object) -> Anchor:
    match item:
        case [str(kind), None | str() as issuer, str(value)] if 0 < len(value) <= MAX_VALUE and issuer != "":
            anchor = Anchor(AnchorKind(kind), issuer or "", value)
        case _:
            raise ValueError("an anchor is [kind, issuer or null, value]")
    if (anchor.kind in _STATED) != bool(anchor.issuer):
        raise ValueError(f"an anchor of kind {kind} with, or without, an issuer")
    return anchor
