"""Where a chip id comes from, as data, and what a chain then says of the chip.

A product's rule names one place in a certificate, and may cut the id out of what stands there. It never says
what to run. The form is in docs/formats.md, "Where a chip id comes from".

    {"from": "subject", "attribute": "CN", "pattern": "EUI:([0-9A-F]{16}) S:SE0 ID:MCU"}

Anchors follow from the chain alone: the DeviceID's key, what its issuer states of it, and, under the
DeviceID's key, what layers below it state (docs/adr/0016-chips-have-anchors.md). Nothing that a layer wrote
is ever a statement of the vendor's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from signerd.core.anchors import Anchor, AnchorKind, spki_sha256
from signerd.core.evidence import chip_names
from signerd.core.evidence.certificate import Certificate
from signerd.core.evidence.chain import ValidChain
from signerd.core.evidence.chip_pattern import ChipPattern, PatternError, parse_pattern
from signerd.core.evidence.errors import EvidenceError
from signerd.core.names import is_chip_id

ATTRIBUTES = {
    "serialNumber": "2.5.4.5",
    "CN": "2.5.4.3",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "DNQ": "2.5.4.46",
    "UID": "0.9.2342.19200300.100.1.1",
}
_PLAIN = ("serialNumber", "CN")  # how a rule was written before there were others
_HEX_BYTES = 32  # of which hexadecimal fits a chip id

_BY_ATTRIBUTE: dict[str, Callable[[Certificate, str], str]] = {
    "subject": chip_names.subject_attribute,
    "san-directory-name": chip_names.directory_attribute,
}
_BY_PLACE: dict[str, Callable[[Certificate], str]] = {
    "san-uri": chip_names.uri,
    "san-dns": chip_names.dns_name,
    "san-hardware-serial": chip_names.hardware_serial_text,
    "san-hardware-serial-hex": chip_names.hardware_serial_hex,
    "certificate-serial": chip_names.certificate_serial,
}
_KEYS = ("device-id-key", "key")
Place = Literal[
    "subject",
    "san-directory-name",
    "san-uri",
    "san-dns",
    "san-hardware-serial",
    "san-hardware-serial-hex",
    "certificate-serial",
    "ueid",
    "device-id-key",
    "key",
]


def _attribute(value: Any) -> Any:
    if isinstance(value, str) and value not in ATTRIBUTES and not value.replace(".", "").isdigit():
        raise ValueError(f"no attribute {value!r}; known: {', '.join(ATTRIBUTES)}, and dotted OIDs")
    return value


def _pattern(value: Any) -> ChipPattern:
    if isinstance(value, ChipPattern):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 (pydantic reports ValueError)
    return parse_pattern(value)


class ChipIdRule(BaseModel):
    """One place in a certificate, and what to cut out of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    place: Annotated[Place, Field(alias="from")]
    attribute: Annotated[str, BeforeValidator(_attribute)] | None = None
    of: Literal["leaf", "device-id"] = "leaf"
    pattern: Annotated[ChipPattern, BeforeValidator(_pattern)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChipIdRule:
        if (self.place in _BY_ATTRIBUTE) != (self.attribute is not None):
            places = " and ".join(_BY_ATTRIBUTE)
            raise ValueError(f"attribute belongs to {places}, which need one")
        if self.place in (*_KEYS, "ueid") and (self.pattern is not None or self.of != "leaf"):
            raise ValueError(f"{self.place} is taken whole: without of and pattern")
        return self

    def __str__(self) -> str:
        """As short as a product may say it."""
        plain = self.place == "subject" and self.of == "leaf" and self.pattern is None
        return str(self.attribute) if plain else self.where

    @property
    def where(self) -> str:
        """In words."""
        place = self.place if self.attribute is None else f"{self.place}'s {self.attribute}"
        of = "" if self.of == "leaf" else " of the DeviceID's certificate"
        return f"{place}{of}" + ("" if self.pattern is None else f", cut by {self.pattern.text}")

    def read(self, certificate: Certificate) -> str:
        """The chip id that this certificate names. Not for rules that name a key or a UEID.

        Raises:
            EvidenceError: there is none, there are two, or it has not a chip id's form.
        """
        if self.attribute is not None:
            oid = ATTRIBUTES.get(self.attribute, self.attribute)
            text = _BY_ATTRIBUTE[self.place](certificate, oid)
        else:
            text = _BY_PLACE[self.place](certificate)
        if self.pattern is not None:
            try:
                text = self.pattern.cut(text)
            except PatternError as error:
                raise EvidenceError(f"the {self.where}: {error}") from error
        if not is_chip_id(text):
            raise EvidenceError(f"the {self.where} is not a chip id")
        return text


def _rule(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _PLAIN:
            raise ValueError(f"must be {' or '.join(_PLAIN)}, or a table that says from where")
        return {"from": "subject", "attribute": value}
    return value


ChipId = Annotated[ChipIdRule, BeforeValidator(_rule)]
SERIAL_NUMBER = ChipIdRule.model_validate({"from": "subject", "attribute": "serialNumber"})


@dataclass(frozen=True, slots=True)
class CertifiedChip:
    """A chain that held, and the chip that it is of."""

    chain: ValidChain
    chip_id: str
    anchors: tuple[Anchor, ...]
    name_is_label: bool  # only a layer of the chip's firmware states the chip id


def identify(chain: ValidChain, rule: ChipIdRule, device: int = 0) -> CertifiedChip:
    """Which chip a chain is of.

    Args:
        chain: valid.
        rule: the product's.
        device: number of the DeviceID's certificate; 0, the leaf, where chains have no layers.

    Raises:
        EvidenceError: the chain does not name a chip by this rule.
    """
    chip = _Chip(chain, device)
    chip_id, is_label = chip.name(rule)
    return CertifiedChip(chain, chip_id, chip.anchors(rule, chip_id, is_label=is_label), is_label)


@dataclass(frozen=True, slots=True)
class _Chip:
    chain: ValidChain
    number: int  # of the DeviceID's certificate

    @property
    def device(self) -> Certificate:
        return self.chain.certificates[self.number]

    @property
    def vendor(self) -> Certificate:
        """The CA that certified the DeviceID."""
        return self.chain.issuers[self.number]

    def name(self, rule: ChipIdRule) -> tuple[str, bool]:
        """The chip id, and whether a layer alone states it."""
        if rule.place == "device-id-key":
            return spki_sha256(self.device.spki), False
        if rule.place == "key":
            return spki_sha256(self.chain.leaf.spki), self.number > 0
        if rule.place == "ueid":
            return self._ueid()
        if rule.of == "device-id" or self.number == 0:
            return rule.read(self.device), False
        chip_id = rule.read(self.chain.leaf)
        return chip_id, not self._vendor_states(rule, chip_id)

    def _ueid(self) -> tuple[str, bool]:
        stated = chip_names.ueid(self.device)
        if stated is not None:
            return _ueid_text(stated), False
        claimed = chip_names.ueid(self.chain.leaf)
        if claimed is None:
            raise EvidenceError("neither the DeviceID's certificate nor the leaf has a UEID")
        return _ueid_text(claimed), True

    def _vendor_states(self, rule: ChipIdRule, chip_id: str) -> bool:
        try:
            return rule.read(self.device) == chip_id
        except EvidenceError:  # the DeviceID's certificate need not name the chip in this way
            return False

    def anchors(self, rule: ChipIdRule, chip_id: str, *, is_label: bool) -> tuple[Anchor, ...]:
        """All that is proved. A CA's own certificate says nothing of a chip."""
        found = {Anchor.of_key(self.device.spki)}
        for certificate in self.chain.certificates[: self.number + 1]:
            stated = chip_names.ueid(certificate)
            if stated is not None:
                by = self.vendor if certificate is self.device else self.device
                found.add(Anchor.stated(AnchorKind.UEID, stated.hex(), by.spki))
        if rule.place not in (*_KEYS, "ueid"):
            by = self.device if is_label else self.vendor
            found.add(Anchor.stated(AnchorKind.SERIAL, chip_id, by.spki))
        return tuple(sorted(found))


def _ueid_text(octets: bytes) -> str:
    text = (
        octets.hex() if len(octets) <= _HEX_BYTES else base64.urlsafe_b64encode(octets).decode().rstrip("=")
    )
    if not is_chip_id(text):
        raise EvidenceError("a UEID of more than 48 bytes is no chip id")
    return text
