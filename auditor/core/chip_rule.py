"""Where a product says that a chip id comes from (docs/formats.md, "Where a chip id comes from"). Data alone:
`evidence.chip` reads certificates by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.core.chip_pattern import ChipPattern, read_pattern
from auditor.errors import Malformed

_OIDS = {
    "serialNumber": "2.5.4.5",
    "CN": "2.5.4.3",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "DNQ": "2.5.4.46",
    "UID": "0.9.2342.19200300.100.1.1",
}
_PLAIN = ("serialNumber", "CN")  # rules that may be their attribute alone
OF_ATTRIBUTES = frozenset({"subject", "san-directory-name"})
OF_CERTIFICATES = OF_ATTRIBUTES | {
    "san-uri", "san-dns", "san-hardware-serial", "san-hardware-serial-hex", "certificate-serial",
}  # fmt: skip
WHOLE = frozenset({"ueid", "device-id-key", "key"})  # not cut, and of a certificate that follows from them


@dataclass(frozen=True, slots=True)
class ChipRule:
    """One place in a certificate, and what to cut out of what stands there."""

    place: str
    attribute: str | None = None  # dotted OID
    of_device: bool = False  # of the DeviceID's certificate instead of the leaf's
    pattern: ChipPattern | None = None


SERIAL_NUMBER = ChipRule("subject", _OIDS["serialNumber"])


def read_chip_rule(value: Any, *, of_tpm: bool = False) -> ChipRule:
    """Reads a rule; `of_tpm`: for attestation keys of TPMs, which have no DeviceID. Raises Malformed."""
    if isinstance(value, str) and value in _PLAIN:
        return ChipRule("subject", _OIDS[value])
    if not isinstance(value, dict) or value.keys() - {"from", "attribute", "of", "pattern"}:
        raise Malformed("chip_id is neither serialNumber, CN nor a table of from, attribute, of and pattern")
    place = value.get("from")
    if not isinstance(place, str) or place not in OF_CERTIFICATES | WHOLE:
        raise Malformed("chip_id: from a place that is not known here")
    if (place in OF_ATTRIBUTES) != ("attribute" in value):
        raise Malformed("chip_id: attribute belongs to subject and san-directory-name")
    of = value.get("of", "leaf")
    if not isinstance(of, str) or of not in {"leaf", "device-id"}:
        raise Malformed("chip_id: of is neither leaf nor device-id")
    pattern = read_pattern(value["pattern"]) if "pattern" in value else None
    if place in WHOLE and (pattern is not None or of != "leaf"):
        raise Malformed(f"chip_id: {place} is taken whole")
    if of_tpm and (place == "device-id-key" or of != "leaf"):
        raise Malformed("chip_id: an attestation key of a TPM has no DeviceID")
    attribute = _attribute(value["attribute"]) if "attribute" in value else None
    return ChipRule(place, attribute, of == "device-id", pattern)


def _attribute(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("chip_id: attribute is not text")
    if value not in _OIDS and not value.replace(".", "").isdigit():
        raise Malformed("chip_id: an attribute that is not known here")
    return _OIDS.get(value, value)
