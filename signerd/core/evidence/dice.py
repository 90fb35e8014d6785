"""DICE: what the certificates of a chain say of the firmware that their keys belong to.

Each layer of firmware measures the next one and certifies its key; the certificate's extension TcbInfo, or
MultiTcbInfo, holds the measurement (TCG DICE Attestation Architecture, §6.1). What is read here counts only
because `validate_chain` verified the certificates.

Firmware is accepted when nothing between the chip's immutable part and the key that signs is left open:

- the leaf has a measurement, and no certificate above it lacks one that has a measured one above it again:
  an unmeasured layer could certify whatever it likes for the layers below;
- every FWID of the chain is one that the product accepts, for exactly one component and version;
- every component that the product names was measured, and none in two versions;
- no flag or integrity register says something that the product's rules cannot judge.

A chain that falls short is still that of a genuine chip: it measures nothing. Two kinds of chain do not even
show that, and are an `EvidenceError`:

- A chip that says of itself that it is not configured, not secure, in recovery or open for debugging: its key
  may have left it.
- A layer above the leaf whose firmware is not accepted, or not measured below one that is: it holds the key
  of a CA and can certify any name for any key, so that one genuine chip would be as many as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

from signerd.core import der
from signerd.core.evidence.certificate import Certificate, extended_key_usage
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.rules import Measurement

TCB_INFO: Final = "2.23.133.5.4.1"
MULTI_TCB_INFO: Final = "2.23.133.5.4.5"
UEID: Final = "2.23.133.5.4.4"
# What is read of them, here or as an anchor; they may be critical.
EXTENSIONS: Final = frozenset({TCB_INFO, MULTI_TCB_INFO, UEID})
# tcg-dice-kp-eca (§8): a CA whose key is in the chip, in the hands of a layer of its firmware.
EMBEDDED_CA: Final = "2.23.133.5.4.100.12"
# And identityLoc and attestLoc: keys that such a CA certified, where Init stands for the vendor's.
_OF_FIRMWARE: Final = frozenset({EMBEDDED_CA, "2.23.133.5.4.100.7", "2.23.133.5.4.100.9"})
# All that the architecture defines for certificates. A UEID alone says nothing of firmware.
_DICE_ARC: Final = "2.23.133.5.4."

# Bytes of a digest by its algorithm's OID (NIST CSOR): SHA-256, SHA-384, SHA-512. A digest of another
# algorithm is well-formed and never accepted.
_DIGEST_BYTES: Final = {
    "2.16.840.1.101.3.4.2.1": 32,
    "2.16.840.1.101.3.4.2.2": 48,
    "2.16.840.1.101.3.4.2.3": 64,
}
# OperationalFlags, bits numbered as in a BIT STRING: from the highest of the first octet.
_INSECURE: Final = {0: "notConfigured", 1: "notSecure", 2: "recovery", 3: "debug"}
# notImmutable is true of all firmware that can be updated, and the FWID says which it is; fixedWidth speaks
# of the encoding. Of the others, notReplayProtected to notTcb, each weakens what the measurement says.
_HARMLESS: Final = frozenset({7, 31})


@dataclass(frozen=True, slots=True)
class MeasuredFirmware:
    """What a chain measures."""

    present: bool  # some certificate of it speaks of firmware, or is of a key that firmware holds
    versions: Mapping[str, str] = field(default_factory=dict)  # component -> version; empty: not accepted


@asn1.sequence
class _Fwid:
    hash_algorithm: x509.ObjectIdentifier
    digest: bytes


@asn1.sequence
class _TcbInfo:
    """DiceTcbInfo; `flagsMask` is [10] and `integrityRegisters` [11], as in the ASN.1 module (Appendix A)."""

    vendor: Annotated[str | None, asn1.Implicit(0)]
    model: Annotated[str | None, asn1.Implicit(1)]
    version: Annotated[str | None, asn1.Implicit(2)]
    svn: Annotated[int | None, asn1.Implicit(3)]
    layer: Annotated[int | None, asn1.Implicit(4)]
    index: Annotated[int | None, asn1.Implicit(5)]
    fwids: Annotated[list[_Fwid] | None, asn1.Implicit(6)]
    flags: Annotated[asn1.BitString | None, asn1.Implicit(7)]
    vendor_info: Annotated[bytes | None, asn1.Implicit(8)]
    type: Annotated[bytes | None, asn1.Implicit(9)]
    flags_mask: Annotated[asn1.BitString | None, asn1.Implicit(10)]
    integrity_registers: Annotated[list[asn1.TLV] | None, asn1.Implicit(11)]


@asn1.sequence
class _TcbInfos:
    infos: list[_TcbInfo]


def measured_firmware(
    certificates: Sequence[Certificate], accepted: Sequence[Measurement]
) -> MeasuredFirmware:
    """What the chain says of the firmware, held against what the product accepts.

    Args:
        certificates: of a valid chain, leaf first.
        accepted: the product's measurements.

    Raises:
        EvidenceError: an extension is malformed, or the chip says that it is in an insecure state.
    """
    layers = [_tcb_infos(certificate) for certificate in certificates]
    for info in (info for layer in layers for info in layer):
        insecure = [name for bit, name in _INSECURE.items() if bit in _bits(info.flags)]
        if insecure:
            raise EvidenceError(f"DICE: the chip is in state {', '.join(insecure)}")
    if not any(layers):
        return MeasuredFirmware(present=any(_has_layers(certificate) for certificate in certificates))
    meanings = _meanings(accepted)
    _check_certifiers(layers, meanings)
    if not _all_measured(layers) or not all(_judged(info) for layer in layers for info in layer):
        return MeasuredFirmware(present=True)
    return MeasuredFirmware(present=True, versions=_versions(layers, meanings))


def _has_layers(certificate: Certificate) -> bool:
    """True if it is of a chip with layers of firmware, also where their measure is not read here."""
    if any(oid.startswith(_DICE_ARC) and oid != UEID for oid in certificate.extensions):
        return True
    return not _OF_FIRMWARE.isdisjoint(extended_key_usage(certificate) or ())


def _tcb_infos(certificate: Certificate) -> list[_TcbInfo]:
    """All TcbInfo of one certificate; none where it has no such extension.

    Raises:
        EvidenceError: an extension that is not strictly DER of its form.
    """
    one, many = (certificate.extensions.get(oid) for oid in (TCB_INFO, MULTI_TCB_INFO))
    infos: list[_TcbInfo] = []
    try:
        if one is not None:
            _check_is_tcb_info(one.value)
            infos.append(asn1.decode_der(_TcbInfo, one.value))
        if many is not None:
            # SEQUENCE OF is read as the one field of a sequence around it.
            several = asn1.decode_der(_TcbInfos, der.sequence(many.value)).infos
            if not several:
                raise ValueError("MultiTcbInfo has no element")  # noqa: TRY301 (as the reader raises)
            infos += several
    except EvidenceError:
        raise
    except ValueError as error:
        raise EvidenceError(f"DICE: TcbInfo is malformed: {error}") from error
    for info in infos:
        _check_fwids(info.fwids)
    return infos


def _check_is_tcb_info(value: bytes) -> None:
    """Names the form that stood under this OID before TcbInfo did, and in which chips still come: a
    CompositeDeviceID, `SEQUENCE { version INTEGER, key of the DeviceID, FWID }`. A TcbInfo has no INTEGER.

    Raises:
        EvidenceError: it is of that form.
        DerError: it is no SEQUENCE.
    """
    fields = der.elements(der.content(value, der.SEQUENCE))
    if fields and fields[0][0] == der.INTEGER:
        raise EvidenceError(
            f"DICE: {TCB_INFO} holds a CompositeDeviceID, the format before TcbInfo; it is not read here"
        )


def _check_fwids(fwids: list[_Fwid] | None) -> None:
    if fwids is None:
        return
    if not fwids:  # FWIDLIST is SIZE (1..MAX)
        raise EvidenceError("DICE: TcbInfo has an empty list of FWIDs")
    for fwid in fwids:
        size = _DIGEST_BYTES.get(fwid.hash_algorithm.dotted_string, len(fwid.digest))
        if len(fwid.digest) != size:
            raise EvidenceError("DICE: an FWID's digest is not of its algorithm's length")


def _bits(flags: asn1.BitString | None) -> frozenset[int]:
    """The bits that are set. Absent flags are all 0, and `flagsMask` never hides one that is set."""
    octets = b"" if flags is None else flags.as_bytes()
    return frozenset(bit for bit in range(8 * len(octets)) if octets[bit // 8] & 0x80 >> bit % 8)


def _judged(info: _TcbInfo) -> bool:
    """True if it says nothing but what the rules can judge."""
    return _bits(info.flags) <= _HARMLESS and info.integrity_registers is None


def _all_measured(layers: Sequence[Sequence[_TcbInfo]]) -> bool:
    """True if the leaf is measured, and each layer between it and the topmost measured one."""
    measured = [any(info.fwids for info in layer) for layer in layers]
    return all(measured[: measured.count(True)])


_State = tuple[str, str]  # component and version


def _meanings(accepted: Sequence[Measurement]) -> dict[bytes, set[_State]]:
    """Digest -> what it stands for."""
    meanings: dict[bytes, set[_State]] = {}
    for measurement in accepted:
        meanings.setdefault(measurement.digest, set()).add((measurement.component, measurement.version))
    return meanings


def _state(fwid: _Fwid, meanings: Mapping[bytes, set[_State]]) -> _State | None:
    """What the product accepts this FWID as, if that is one thing."""
    states = meanings.get(fwid.digest, set())
    if fwid.hash_algorithm.dotted_string not in _DIGEST_BYTES or len(states) != 1:
        return None
    return next(iter(states))


def _check_certifiers(layers: Sequence[Sequence[_TcbInfo]], meanings: Mapping[bytes, set[_State]]) -> None:
    """Refuses a chain in which a CA's key may be in the hands of firmware that is not accepted.

    CAs above the topmost one that speaks of firmware are the vendor's own, outside of the chip.
    """
    topmost = max((number for number, layer in enumerate(layers) if layer), default=0)
    for layer in layers[1 : topmost + 1]:
        fwids = [fwid for info in layer for fwid in info.fwids or ()]
        known = all(_state(fwid, meanings) is not None for fwid in fwids)
        if not fwids or not known or not all(_judged(info) for info in layer):
            raise EvidenceError("DICE: firmware that is not accepted holds the key of a CA")


def _versions(layers: Sequence[Sequence[_TcbInfo]], meanings: Mapping[bytes, set[_State]]) -> dict[str, str]:
    """Component -> version; empty unless each measurement is accepted and each component is measured."""
    found: dict[str, str] = {}
    for info in (info for layer in layers for info in layer):
        for fwid in info.fwids or ():
            state = _state(fwid, meanings)
            if state is None or found.setdefault(*state) != state[1]:
                return {}
    named = {component for states in meanings.values() for component, _ in states}
    return found if found.keys() == named else {}
