"""Which chip a verified chain is of, and what it proves of it (docs/adr/0016-chips-have-anchors.md).

    shown = shown_by(path, issuers, rule, device)      # chip id and anchors
    device = device_id(path, vendor_cas, measures=…)   # number of the DeviceID's certificate

In a DICE chain firmware certifies the keys below the DeviceID: what those certificates say follows from
firmware. Nothing of it is a statement of the vendor's. What is not read in exactly one way is no name.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import new as new_hash
from hashlib import sha256

from auditor.core import der, forms
from auditor.core.anchors import Anchor
from auditor.core.chip_rule import ChipRule
from auditor.core.evidence.appraisal import false
from auditor.core.evidence.certificate import Certificate, attributes, dotted, extended_key_usage
from auditor.errors import Malformed

MAX_UEID = 64  # bytes
_UEID = "2.23.133.5.4.4"
_ARC = "2.23.133.5.4."  # of DICE's extensions
_PURPOSES = f"{_ARC}100."  # of its key purposes
_BY_A_CHIP = frozenset(f"{_PURPOSES}{number}" for number in (7, 9, 11))  # identityLoc, attestLoc, assertLoc
_OF_A_CHIP = _BY_A_CHIP | {f"{_PURPOSES}12"}  # and eca
_SAN = "2.5.29.17"
_HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4"
_OTHER_NAME, _DNS, _DIRECTORY, _URI, _EXPLICIT = 0xA0, 0x82, 0xA4, 0x86, 0xA0
_DIGESTS = ("sha1", "sha256", "sha384", "sha512")
_HEX_UEID = 32  # bytes of which hexadecimal fits a chip id
_KEPT = 256  # the same few CAs stand above all chips


@dataclass(frozen=True, slots=True)
class Shown:
    """What a chain shows of its chip."""

    chip_id: str
    anchors: tuple[Anchor, ...]


def shown_by(
    path: Sequence[Certificate], issuers: Sequence[Certificate], rule: ChipRule, device: int = 0
) -> Shown:
    """The chip of a verified path, leaf first; `issuers`: of each of its certificates, the root last;
    `device`: number of the DeviceID's certificate.

    Raises:
        CheckFailed: EVIDENCE_FALSE: it names no chip by this rule.
    """
    try:
        return _Chain(path, issuers, device).shown(rule)
    except Malformed as error:
        raise false(f"the chip's name: {error}") from error


def device_id(path: Sequence[Certificate], vendor_cas: int | None, *, measures: bool) -> int:
    """The number of the DeviceID's certificate; 0, the leaf's, where no layer certifies another.

    Args:
        path: verified, leaf first, without the root.
        vendor_cas: CAs below the root that are the vendor's, as the product says; None: it does not.
        measures: the product accepts measurements.

    Raises:
        CheckFailed: EVIDENCE_FALSE: the chain is not as the product says.
    """
    try:
        if vendor_cas is not None:
            return _as_stated(path, vendor_cas)
        cas = range(1, len(path))
        top = max((number for number in cas if _is_a_chips(path, number, init=True)), default=0)
        certificate, above = path[top], len(path) - 1 - top
        measured = any(oid.startswith(_ARC) and oid != _UEID for oid in certificate.extensions)
        if not (measured or (measures and top == 0)):
            return top
        if above > 2:  # of more than two that show nothing, any may be what a chip padded its chain with
            raise false("nothing in the chain shows where the vendor ends", "vendor_cas", str(above))
        return top + (above == 2 or (above == 1 and _named_by_its_key(certificate)))
    except Malformed as error:
        raise false(f"the chain's layers: {error}") from error


def _as_stated(path: Sequence[Certificate], vendor_cas: int) -> int:
    number = len(path) - 1 - vendor_cas
    if number < 0:
        raise false("the chain has fewer CAs than the product says", str(vendor_cas), str(len(path) - 1))
    if any(_is_a_chips(path, above, init=False) for above in range(number + 1, len(path))):
        raise false("a CA that should be the vendor's is a chip's")
    return number


def _is_a_chips(path: Sequence[Certificate], number: int, *, init: bool) -> bool:
    """True for a CA that says that a chip holds its key, or that certified what says so."""
    certificate = path[number]
    purposes = extended_key_usage(certificate) or frozenset()
    below = extended_key_usage(path[number - 1]) or frozenset()
    if not _OF_A_CHIP.isdisjoint(purposes) or not _BY_A_CHIP.isdisjoint(below):
        return True
    if init and any(purpose.startswith(_PURPOSES) for purpose in purposes):
        return True
    return any(oid.startswith(_ARC) for oid in certificate.extensions) or _named_by_its_key(certificate)


@lru_cache(maxsize=_KEPT)
def _named_by_its_key(certificate: Certificate) -> bool:
    """True if a name in the subject holds the first 8 bytes of a digest of the certificate's own key."""
    texts = [text for _, text in attributes(certificate.subject) if text is not None]
    plain = [text.lower().translate({ord(char): None for char in ": -"}) for text in texts]
    base64s = [text.replace("-", "+").replace("_", "/") for text in texts]
    bits = der.content(der.members(certificate.spki)[1], der.BIT_STRING)[1:]
    for key in (certificate.spki, bits, bits[1:]):
        for name in _DIGESTS:
            start = new_hash(name, key, usedforsecurity=False).digest()[:8]
            encoded = base64.b64encode(start).decode()[:10]
            if any(start.hex() in text for text in plain) or any(encoded in text for text in base64s):
                return True
    return False


@dataclass(frozen=True, slots=True)
class _Chain:
    path: Sequence[Certificate]
    issuers: Sequence[Certificate]
    number: int  # of the DeviceID's certificate

    def shown(self, rule: ChipRule) -> Shown:
        device, leaf = self.path[self.number], self.path[0]
        vendors, layers = _key(self.issuers[self.number]), _key(device)
        anchors = {Anchor("key", "", layers)}
        for certificate in self.path[: self.number + 1]:
            if (stated := _ueid(certificate)) is not None:
                anchors.add(Anchor("ueid", vendors if certificate is device else layers, stated.hex()))
        match rule.place:
            case "device-id-key":
                return Shown(layers, tuple(sorted(anchors)))
            case "key":
                return Shown(_key(leaf), tuple(sorted(anchors)))
            case "ueid":
                return Shown(_ueid_text(device, leaf), tuple(sorted(anchors)))
        of_device = rule.of_device or self.number == 0
        chip_id = _read(rule, device if of_device else leaf)
        by_vendor = of_device or _says(rule, device, chip_id)
        anchors.add(Anchor("serial", vendors if by_vendor else layers, chip_id))
        return Shown(chip_id, tuple(sorted(anchors)))


def _key(certificate: Certificate) -> str:
    return sha256(certificate.spki).hexdigest()


def _says(rule: ChipRule, certificate: Certificate, chip_id: str) -> bool:
    try:
        return _read(rule, certificate) == chip_id
    except Malformed:  # it need not name the chip in this way
        return False


def _read(rule: ChipRule, certificate: Certificate) -> str:
    if rule.attribute is not None:
        name = certificate.subject if rule.place == "subject" else _alternative(certificate, _DIRECTORY)
        values = [text for oid, text in attributes(name) if oid == rule.attribute]
        if len(values) != 1 or values[0] is None:
            raise Malformed("not exactly one attribute of this kind, as text")
        text = values[0]
    else:
        text = _PLACES[rule.place](certificate)
    return str(forms.chip_id(text if rule.pattern is None else rule.pattern.cut(text)))


def _ascii(octets: bytes) -> str:
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("not ASCII") from error


def _alternatives(certificate: Certificate) -> list[bytes]:
    extension = certificate.extensions.get(_SAN)
    return [] if extension is None else der.members(extension.value)


def _alternative(certificate: Certificate, tag: int) -> bytes:
    match [name for name in _alternatives(certificate) if name[0] == tag]:
        case [one]:
            return der.content(one, tag)
        case _:
            raise Malformed("not exactly one name of this kind in the SAN")


def _hardware_serial(certificate: Certificate) -> bytes:
    """hwSerialNum of the one hardwareModuleName (RFC 4108 §5)."""
    found = []
    for name in _alternatives(certificate):
        if name[0] == _OTHER_NAME:
            kind, value = _pair(der.members(name, _OTHER_NAME))
            if dotted(kind) == _HARDWARE_MODULE_NAME:
                found.append(der.content(value, _EXPLICIT))
    if len(found) != 1:
        raise Malformed("not exactly one hardwareModuleName in the SAN")
    kind, serial = _pair(der.members(found[0]))
    dotted(kind)
    return der.content(serial, der.OCTET_STRING)


def _pair(parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    if len(parts) != 2:
        raise Malformed("not of two parts")
    return parts[0], parts[1]


def _certificate_serial(certificate: Certificate) -> str:
    if certificate.serial <= 0:
        raise Malformed("the certificate's serial number is not positive")
    return certificate.serial.to_bytes((certificate.serial.bit_length() + 7) // 8, "big").hex()


_PLACES: dict[str, Callable[[Certificate], str]] = {
    "san-uri": lambda certificate: _ascii(_alternative(certificate, _URI)),
    "san-dns": lambda certificate: _ascii(_alternative(certificate, _DNS)),
    "san-hardware-serial": lambda certificate: _ascii(_hardware_serial(certificate)),
    "san-hardware-serial-hex": lambda certificate: _hardware_serial(certificate).hex(),
    "certificate-serial": _certificate_serial,
}


def _ueid(certificate: Certificate) -> bytes | None:
    extension = certificate.extensions.get(_UEID)
    if extension is None:
        return None
    match der.members(extension.value):
        case [one]:
            octets = der.content(one, der.OCTET_STRING)
        case _:
            raise Malformed("UEID is not of one part")
    if not 1 <= len(octets) <= MAX_UEID:
        raise Malformed(f"UEID is not of 1 to {MAX_UEID} bytes")
    return octets


def _ueid_text(device: Certificate, leaf: Certificate) -> str:
    stated = _ueid(device)
    octets = _ueid(leaf) if stated is None else stated
    if octets is None:
        raise Malformed("neither the DeviceID's certificate nor the leaf has a UEID")
    if len(octets) <= _HEX_UEID:
        return octets.hex()
    return str(forms.chip_id(base64.urlsafe_b64encode(octets).rstrip(b"=").decode()))
