"""A CSR's form (PKCS#10, RFC 2986 §4), read by a DER walk of our own.

Of a CSR only the key goes further, so only what could hide something is read strictly: the frame around it,
the version, the key, the signature's algorithm, and what the attributes ask for. The subject and whatever
other attributes a library writes (challengePassword, unstructuredName, Windows' and Netscape's own) are one
element each and never decoded: an underscore in a PrintableString is nobody's concern here.

    CertificationRequest ::= SEQUENCE {
      info SEQUENCE { version INTEGER (0), subject Name, subjectPKInfo, attributes [0] SET OF Attribute },
      algorithm AlgorithmIdentifier, signature BIT STRING }

Lengths are in DER's one form wherever the walk goes, nothing follows, and no attribute appears twice. The
attributes may be absent, which some cards write, and in any order, which RFC 2986 does not allow either; the
signature covers them as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from signerd.core import der
from signerd.core.der import DerError

_VERSION_1 = b"\x02\x01\x00"
_ATTRIBUTES = 0xA0
_TRUE, _FALSE = b"\x01\x01\xff", b"\x01\x01\x00"

# extensionRequest (RFC 2985 §5.4.2), and what Windows wrote before it (szOID_CERT_EXTENSIONS).
_EXTENSION_REQUESTS = (
    bytes.fromhex("06092a864886f70d01090e"),
    bytes.fromhex("060a2b06010401823702010e"),
)
_BASIC_CONSTRAINTS = bytes.fromhex("0603551d13")
_KEY_USAGE = bytes.fromhex("0603551d0f")
# What constrains the certificates below asks for a CA, whatever basicConstraints says.
_OF_A_CA = {bytes.fromhex("0603551d1e"): "nameConstraints", bytes.fromhex("0603551d24"): "policyConstraints"}
_SIGNS_CERTIFICATES = 0x06  # keyCertSign and cRLSign, bits 5 and 6 from the highest (RFC 5280 §4.2.1.3)


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A CSR taken apart; nothing of it is verified yet."""

    info: bytes  # CertificationRequestInfo, DER: what is signed
    spki: bytes  # SubjectPublicKeyInfo as it stands, DER
    algorithm: bytes  # AlgorithmIdentifier of the signature, DER
    signature: bytes
    attributes: tuple[tuple[bytes, bytes], ...]  # type and SET of values, DER each


def read_request(data: bytes) -> CertificationRequest:
    """Takes a CSR apart.

    Raises:
        DerError: not of the form, or something is in it twice.
    """
    info, algorithm, signature = der.split_signed(data)
    fields = der.elements(der.content(info, der.SEQUENCE))
    if [field[0] for field in fields] not in (
        [der.INTEGER, der.SEQUENCE, der.SEQUENCE],
        [der.INTEGER, der.SEQUENCE, der.SEQUENCE, _ATTRIBUTES],
    ):
        raise DerError("not version, subject, key and attributes")
    if fields[0] != _VERSION_1:
        raise DerError("the version is not v1")
    attributes = _attributes(fields[3:])
    return CertificationRequest(
        info, fields[2], algorithm, der.content(signature, der.BIT_STRING)[1:], attributes
    )


def _attributes(field: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    found: dict[bytes, bytes] = {}
    for raw in der.elements(der.content(field[0], _ATTRIBUTES)) if field else ():
        match der.elements(der.content(raw, der.SEQUENCE)):
            case [kind, values] if kind[0] == der.OBJECT_IDENTIFIER and values[0] == der.SET:
                if kind in found:
                    raise DerError("an attribute appears twice")
                found[kind] = values
            case _:
                raise DerError("an attribute is not a type and its values")
    return tuple(found.items())


def check_asks_for_a_leaf(request: CertificationRequest) -> None:
    """Refuses a CSR that asks for what only a CA has. Nothing that a CSR asks for is granted; but one that
    asks for a CA's certificate is no board's.

    Raises:
        DerError: it asks for one, or what it asks for cannot be read.
    """
    for kind, values in request.attributes:
        if kind in _EXTENSION_REQUESTS:
            for value in der.elements(der.content(values, der.SET)):
                _check_extensions(value)


def _check_extensions(value: bytes) -> None:
    seen = set()
    for kind, extension in _extensions(value):
        if kind in seen:
            raise DerError("it asks for an extension twice")
        seen.add(kind)
        if kind in _OF_A_CA:
            raise DerError(f"it asks for {_OF_A_CA[kind]}, which only a CA has")
        if kind == _BASIC_CONSTRAINTS and _asks_for_ca(extension):
            raise DerError("it asks for a CA certificate")
        if kind == _KEY_USAGE and _asks_for_signing_certificates(extension):
            raise DerError("it asks for a CA's key usage")


def _extensions(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The OID element and the value of each; `critical` may be written out where it is FALSE (wolfSSL)."""
    for raw in der.elements(der.content(value, der.SEQUENCE)):
        match der.elements(der.content(raw, der.SEQUENCE)):
            case [kind, octets] if kind[0] == der.OBJECT_IDENTIFIER:
                yield kind, der.content(octets, der.OCTET_STRING)
            case [kind, critical, octets] if kind[0] == der.OBJECT_IDENTIFIER and critical in (_TRUE, _FALSE):
                yield kind, der.content(octets, der.OCTET_STRING)
            case _:
                raise DerError("it asks for an extension that is not of the form")


def _asks_for_ca(value: bytes) -> bool:
    """BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }."""
    fields = der.elements(der.content(value, der.SEQUENCE))
    is_ca = fields[:1] == [_TRUE]
    if fields[:1] in ([_TRUE], [_FALSE]):
        fields.pop(0)
    if [field[0] for field in fields] not in ([], [der.INTEGER]):
        raise DerError("its basicConstraints are not of the form")
    return is_ca


def _asks_for_signing_certificates(value: bytes) -> bool:
    bits = der.content(value, der.BIT_STRING)
    if not bits or bits[0] > 7:
        raise DerError("its keyUsage is not of the form")
    return bool(len(bits) > 1 and bits[1] & _SIGNS_CERTIFICATES)
