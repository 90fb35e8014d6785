"""What a certificate says of its chip: names in subject and alternative name, its serial number, UEID.

Names are read from raw DER and leniently (`certificate.py`). Where a certificate says a thing twice, or says
nothing of the kind, there is no name: which of two counts must not depend on the reader. Whatever the bytes,
`EvidenceError` is all that is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from signerd.core import der
from signerd.core.der import DerError
from signerd.core.evidence.certificate import Certificate, attributes, dotted
from signerd.core.evidence.errors import EvidenceError

UEID = "2.23.133.5.4.4"  # tcg-dice-Ueid: SEQUENCE { ueid OCTET STRING }, TCG DICE Attestation Architecture
MAX_UEID = 64  # bytes; EAT's longest has 33 (RFC 9711 §4.2.1)

_ALTERNATIVE_NAME = "2.5.29.17"
_HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4"  # id-on-hardwareModuleName, RFC 4108 §5
# Tags of GeneralName (RFC 5280 §4.2.1.6), and of the value in an otherName.
_OTHER_NAME, _DNS_NAME, _DIRECTORY_NAME, _URI = 0xA0, 0x82, 0xA4, 0x86
_VALUE = 0xA0


def subject_attribute(certificate: Certificate, oid: str) -> str:
    """The one attribute of this kind in the subject. Raises EvidenceError."""
    return _attribute(certificate.subject, oid, "the subject")


def directory_attribute(certificate: Certificate, oid: str) -> str:
    """The one attribute of this kind in the one directoryName of the SAN. Raises EvidenceError."""
    return _attribute(_alternative(certificate, _DIRECTORY_NAME), oid, "the SAN's directoryName")


def uri(certificate: Certificate) -> str:
    """The one URI of the SAN. Raises EvidenceError."""
    return _text(_alternative(certificate, _URI), "the SAN's URI")


def dns_name(certificate: Certificate) -> str:
    """The one DNS name of the SAN. Raises EvidenceError."""
    return _text(_alternative(certificate, _DNS_NAME), "the SAN's DNS name")


def hardware_serial_hex(certificate: Certificate) -> str:
    """hwSerialNum of the one hardwareModuleName in the SAN, hexadecimal. Raises EvidenceError."""
    return _hardware_serial(certificate).hex()


def hardware_serial_text(certificate: Certificate) -> str:
    """hwSerialNum of the one hardwareModuleName in the SAN, where it is text. Raises EvidenceError."""
    return _text(_hardware_serial(certificate), "the SAN's hwSerialNum")


def certificate_serial(certificate: Certificate) -> str:
    """The certificate's own serial number, hexadecimal. Raises EvidenceError for zero and below."""
    if certificate.serial <= 0:
        raise EvidenceError("the certificate's serial number is not positive")
    digits = f"{certificate.serial:x}"
    return digits.zfill(len(digits) + len(digits) % 2)  # whole bytes, as entries have serial numbers


def ueid(certificate: Certificate) -> bytes | None:
    """What tcg-dice-Ueid says; None without the extension. Raises EvidenceError for another form."""
    extension = certificate.extensions.get(UEID)
    if extension is None:
        return None
    with _unreadable("UEID"):
        (value,) = _parts(der.content(extension.value, der.SEQUENCE), 1)
        octets = der.content(value, der.OCTET_STRING)
    if not 0 < len(octets) <= MAX_UEID:
        raise EvidenceError(f"UEID: not 1 to {MAX_UEID} bytes")
    return octets


def _attribute(name: bytes, oid: str, where: str) -> str:
    values = [text for kind, text in attributes(name) if kind == oid]
    if len(values) != 1:
        raise EvidenceError(f"{where} has {len(values)} attributes {oid}, not one")
    if values[0] is None:
        raise EvidenceError(f"{where}: attribute {oid} is no text, and not a chip id")
    return values[0]


def _alternative(certificate: Certificate, tag: int) -> bytes:
    """The content of the one GeneralName of this kind."""
    found = [name for name in _alternatives(certificate) if name[0] == tag]
    if len(found) != 1:
        raise EvidenceError(f"the SAN has {len(found)} names of this kind, not one")
    with _unreadable("the SAN"):
        return der.content(found[0], tag)


def _alternatives(certificate: Certificate) -> list[bytes]:
    extension = certificate.extensions.get(_ALTERNATIVE_NAME)
    if extension is None:
        return []
    with _unreadable("the SAN"):
        return der.elements(der.content(extension.value, der.SEQUENCE))


def _hardware_serial(certificate: Certificate) -> bytes:
    """OtherName ::= SEQUENCE { type-id, value [0] }, implicitly tagged; its value is
    HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }."""
    found = []
    with _unreadable("the SAN's otherName"):
        for name in _alternatives(certificate):
            if name[0] == _OTHER_NAME:
                kind, value = _parts(der.content(name, _OTHER_NAME), 2)
                if dotted(kind) == _HARDWARE_MODULE_NAME:
                    found.append(der.content(value, _VALUE))
        if len(found) != 1:
            raise EvidenceError(f"the SAN has {len(found)} hardwareModuleNames, not one")
        kind, serial = _parts(der.content(found[0], der.SEQUENCE), 2)
        dotted(kind)
        return der.content(serial, der.OCTET_STRING)


def _parts(content: bytes, count: int) -> list[bytes]:
    parts = der.elements(content)
    if len(parts) != count:
        raise DerError(f"not of {count} parts")
    return parts


def _text(octets: bytes, where: str) -> str:
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{where} is no ASCII text") from error


@contextmanager
def _unreadable(what: str) -> Iterator[None]:
    try:
        yield
    except DerError as error:
        raise EvidenceError(f"{what} cannot be read: {error}") from error
