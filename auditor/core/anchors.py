"""Anchors as `issued` entries of form 2 hold them (docs/formats.md, "Anchors").

    anchors = ledger_anchors(value)     # or Malformed

An anchor is what tells a chip from every other one, whatever its firmware says: a kind, the key of who states
it, and a value.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from auditor.core import forms
from auditor.core.forms import Form
from auditor.errors import Malformed

MAX_ANCHORS = 32  # in one entry
_SHA256 = forms.matching(r"[0-9a-f]{64}")
_HEX = forms.matching(r"(?:[0-9a-f]{2}){1,256}")
_TEXT = forms.matching(r"[^\x00-\x1f\x7f]{1,512}")
_VALUES: dict[str, Form] = {
    "key": _SHA256,  # of a SubjectPublicKeyInfo
    "ueid": _HEX,
    "serial": _TEXT,  # as the product's rule cut it
    "personalized": forms.chip_id,
    "imported": _HEX,  # key id
}
_STATED = frozenset({"ueid", "serial"})  # by the holder of a key; the others need nobody's word


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """One anchor. `issuer`: SHA-256 of the SubjectPublicKeyInfo of who states it, hexadecimal, or empty."""

    kind: str
    issuer: str
    value: str

    def __str__(self) -> str:
        by = f" of {self.issuer[:16]}" if self.issuer else ""
        return f"{self.kind}{by}: {self.value}"


def key_anchor(spki: bytes) -> Anchor:
    """A key as an anchor; `spki` in its one form."""
    return Anchor("key", "", sha256(spki).hexdigest())


def personalized(chip_id: str) -> tuple[Anchor, ...]:
    """What a secret proves that a trusted personalization burned for this chip id."""
    return (Anchor("personalized", "", chip_id),)


def imported(spki: bytes, key_id: bytes) -> tuple[Anchor, ...]:
    """What an imported key proves that the evidence names by `key_id`."""
    return (Anchor("imported", "", key_id.hex()), key_anchor(spki))


def name_anchor(chip_id: str) -> Anchor:
    """A chip's id, where more than the chip's own firmware states it: it is one chip's, too. No entry has it
    among its anchors."""
    return Anchor("name", "", chip_id)


def is_stated(chip_id: str, anchors: Iterable[Anchor]) -> bool:
    """True if anchors of certificates say that a vendor, or a DeviceID key itself, states this chip id. What
    the holder of one of the chip's own keys states is its firmware's word."""
    anchors = tuple(anchors)
    keys = {one.value for one in anchors if one.kind == "key"}
    vendors = [one for one in anchors if one.kind in _STATED and one.issuer not in keys]
    return chip_id in keys or any(chip_id in _texts(one) for one in vendors)


def _texts(stated: Anchor) -> tuple[str, ...]:
    """The chip ids that this may be: a long UEID is one in base64url."""
    if stated.kind != "ueid":
        return (stated.value,)
    return stated.value, urlsafe_b64encode(bytes.fromhex(stated.value)).rstrip(b"=").decode()


def ledger_anchors(value: Any) -> tuple[Anchor, ...]:
    """The anchors of an entry, decoded from JSON: sorted, each once, at most 32.

    Raises:
        Malformed: they are not of this form.
    """
    if not isinstance(value, list) or len(value) > MAX_ANCHORS:
        raise Malformed(f"is not an array of at most {MAX_ANCHORS} anchors")
    anchors = tuple(_anchor(item) for item in value)
    if list(anchors) != sorted(set(anchors)):
        raise Malformed("is not sorted, or has an anchor twice")
    return anchors


def _anchor(item: Any) -> Anchor:
    if not isinstance(item, list) or len(item) != 3:
        raise Malformed("has an anchor that is not [kind, issuer or null, value]")
    kind, issuer, value = item
    if not isinstance(kind, str) or kind not in _VALUES:
        raise Malformed(f"has an anchor of an unknown kind, {repr(kind)[:64]}")
    if (issuer is not None) != (kind in _STATED):
        raise Malformed(f"has an anchor of kind {kind} with an issuer, or without the one it needs")
    if issuer is not None:
        _SHA256(issuer)
    _VALUES[kind](value)
    return Anchor(kind, issuer or "", value)
