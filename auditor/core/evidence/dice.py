"""What the certificates of a DICE chain say of the firmware that their keys belong to (TCG DICE Attestation
Architecture, §6.1: TcbInfo and MultiTcbInfo).

    DiceTcbInfo ::= SEQUENCE { vendor [0], model [1], version [2], svn [3], layer [4], index [5],
                               fwids [6] SEQUENCE OF SEQUENCE { hashAlg OID, digest OCTET STRING },
                               flags [7] BIT STRING, vendorInfo [8], type [9], flagsMask [10],
                               integrityRegisters [11] }      -- all IMPLICIT, all OPTIONAL
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.core import der
from auditor.core.evidence.appraisal import false
from auditor.core.evidence.certificate import Certificate, extended_key_usage, integer, set_bits
from auditor.core.product import Measurement
from auditor.errors import Malformed

TCB_INFO = "2.23.133.5.4.1"
MULTI_TCB_INFO = "2.23.133.5.4.5"
_KEY_PURPOSES = "2.23.133.5.4.100."  # tcg-dice-kp (§8): extended key usages
VENDORS_KEYS = frozenset(f"{_KEY_PURPOSES}{number}" for number in (6, 8))  # …Init
LOCAL_KEYS = frozenset(f"{_KEY_PURPOSES}{number}" for number in (7, 9))  # …Loc
EMBEDDED_CA = f"{_KEY_PURPOSES}12"  # of a CA whose key firmware of the chip holds
_ARC = "2.23.133.5.4."  # of all that DICE defines for certificates
UEID = "2.23.133.5.4.4"  # a name, which says nothing of firmware
_TEXTS, _NUMBERS, _OCTETS = {0x80, 0x81, 0x82}, {0x83, 0x84, 0x85}, {0x88, 0x89}
_FWIDS, _FLAGS, _FLAGS_MASK, _INTEGRITY_REGISTERS = 0xA6, 0x87, 0x8A, 0xAB
# OperationalFlags, from the highest bit of the first byte: notConfigured, notSecure, recovery, debug.
_INSECURE = frozenset(range(4))
# notImmutable is true of whatever can be updated, and the FWID says what it is; fixedWidth is about encoding.
_HARMLESS = frozenset({7, 31})
_DIGEST_SIZES = {  # bytes by the DER of hashAlg: SHA-256, SHA-384, SHA-512 (2.16.840.1.101.3.4.2.1 to 3)
    bytes.fromhex("0609608648016503040201"): 32,
    bytes.fromhex("0609608648016503040202"): 48,
    bytes.fromhex("0609608648016503040203"): 64,
}


@dataclass(frozen=True, slots=True)
class _TcbInfo:
    digests: tuple[bytes | None, ...]  # None: of an algorithm that no product can accept
    flags: frozenset[int]
    registers: bool


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a chain measures. `accepted` is empty unless all of it is accepted."""

    spoken_of: bool  # a certificate speaks of firmware, or is of a key that firmware holds or certified
    accepted: Mapping[str, str]


def firmware_of(path: Sequence[Certificate], accepted: Sequence[Measurement]) -> Firmware:
    """The firmware of a verified path, leaf first.

    Raises:
        CheckFailed: EVIDENCE_FALSE: malformed, or a chip that says of itself that it is not secure.
    """
    try:
        layers = [_layer(certificate) for certificate in path]
        spoken_of = any(_speaks_of_firmware(certificate) for certificate in path)
    except Malformed as error:
        raise false(f"DICE: {error}") from error
    infos = [info for layer in layers for info in layer]
    if any(info.flags & _INSECURE for info in infos):
        raise false("DICE: the chip says that it is not secure")
    # A layer above the leaf holds a CA's key: other firmware in it could invent chips.
    topmost = max((number for number, layer in enumerate(layers) if layer), default=0)
    if not all(_may_certify(layer, accepted) for layer in layers[1 : topmost + 1]):
        raise false("DICE: firmware that is not accepted holds the key of a CA")
    # A layer without a measurement could certify whatever it likes for those below it: measured is the leaf,
    # and each layer from it up to the topmost that is.
    with_digests = [any(info.digests for info in layer) for layer in layers]
    unbroken = any(with_digests) and all(with_digests[: sum(with_digests)])
    judged = all(info.flags <= _HARMLESS and not info.registers for info in infos)
    versions: dict[str, str] = {}
    for digest in (digest for info in infos for digest in info.digests):
        meant = {(item.component, item.version) for item in accepted if item.digest == digest}
        if len(meant) != 1:
            return Firmware(spoken_of=True, accepted={})
        component, version = meant.pop()
        if versions.setdefault(component, version) != version:
            return Firmware(spoken_of=True, accepted={})
    complete = versions.keys() == {item.component for item in accepted}
    return Firmware(spoken_of, versions if unbroken and judged and complete else {})


def _speaks_of_firmware(certificate: Certificate) -> bool:
    """True also where a measurement stands in a form that is not read here, or in no certificate at all: the
    vendor then promised nothing of a key that the chip's firmware holds, or certified."""
    local = not {EMBEDDED_CA, *LOCAL_KEYS}.isdisjoint(extended_key_usage(certificate) or ())
    return local or any(oid.startswith(_ARC) for oid in certificate.extensions if oid != UEID)


def _may_certify(layer: Sequence[_TcbInfo], accepted: Sequence[Measurement]) -> bool:
    """True for a layer that is measured, and in which nothing but accepted firmware is."""
    digests = [digest for info in layer for digest in info.digests]
    meanings = [{(item.component, item.version) for item in accepted if item.digest == it} for it in digests]
    judged = all(info.flags <= _HARMLESS and not info.registers for info in layer)
    return bool(digests) and judged and all(len(states) == 1 for states in meanings)


def _layer(certificate: Certificate) -> list[_TcbInfo]:
    found = []
    if TCB_INFO in certificate.extensions:
        value = certificate.extensions[TCB_INFO].value
        if [member[0] for member in der.members(value)][:1] == [der.INTEGER]:
            raise Malformed("a CompositeDeviceID, the format before TcbInfo, which is not read here")
        found.append(_tcb_info(value))
    if MULTI_TCB_INFO in certificate.extensions:
        infos = der.members(certificate.extensions[MULTI_TCB_INFO].value)
        if not infos:
            raise Malformed("MultiTcbInfo is empty")
        found += [_tcb_info(info) for info in infos]
    return found


def _tcb_info(data: bytes) -> _TcbInfo:
    members = der.members(data)
    for member in members:
        _check_member(member)
    numbers = [member[0] & 0x1F for member in members]
    if numbers != sorted(set(numbers)):
        raise Malformed("TcbInfo has a member twice, or out of order")
    parts = {member[0]: member for member in members}
    digests: tuple[bytes | None, ...] = ()
    if _FWIDS in parts:
        digests = tuple(_fwid(item) for item in der.members(parts[_FWIDS], _FWIDS))
        if not digests:
            raise Malformed("TcbInfo has an empty list of FWIDs")
    flags = frozenset(set_bits(der.content(parts[_FLAGS], _FLAGS))) if _FLAGS in parts else frozenset[int]()
    return _TcbInfo(digests, flags, _INTEGRITY_REGISTERS in parts)


def _check_member(member: bytes) -> None:
    """That it is of its form, also where nothing depends on it. Raises Malformed."""
    tag = member[0]
    value = der.content(member, tag)
    try:
        if tag in _TEXTS:
            value.decode()
        elif tag in _NUMBERS:
            integer(der.element(der.INTEGER, value))
        elif tag in {_FLAGS, _FLAGS_MASK}:
            set_bits(value)
        elif tag == _INTEGRITY_REGISTERS:
            der.split(value)
        elif tag not in {_FWIDS, *_OCTETS}:
            raise Malformed("TcbInfo has a member that is not known here")
    except UnicodeDecodeError as error:
        raise Malformed("a text in TcbInfo is not UTF-8") from error


def _fwid(data: bytes) -> bytes | None:
    match der.members(data):
        case [algorithm, octets]:
            digest = der.content(octets, der.OCTET_STRING)
        case _:
            raise Malformed("an FWID is not algorithm and digest")
    size = _DIGEST_SIZES.get(algorithm)
    if size is not None and len(digest) != size:
        raise Malformed("an FWID's digest is not of its algorithm's length")
    return None if size is None else digest
