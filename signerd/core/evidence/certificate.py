"""X.509 certificates of chips and their vendors, as they are (RFC 5280 §4.1), read by a DER walk of our own.

A chip's certificate is burned into it and stays as it is for its whole life: whatever a vendor's tool wrote
once is what comes. So only the frame is read strictly, and what a path is judged by. Names, alternative names
and all other extensions are one element each and are decoded when somebody asks for them, leniently: an
underscore in a PrintableString hides nothing.

Strict, so that no byte can be read in two ways: lengths in DER's one form, integers and OIDs without padding,
nothing after an element, no field and no extension twice, one AlgorithmIdentifier inside and outside, the
two forms of time of RFC 5280 and no other. Lenient where the meaning is plain, though DER or RFC 5280 forbids
it to whoever writes: a default that is written out (`critical` or `cA` FALSE), GeneralizedTime before 2050,
a serial number that is zero or negative (§4.1.2.2: "prepared to gracefully handle such certificates").

    certificate = read_certificate(der)
    [("2.5.4.5", "0123")] == attributes(certificate.subject)

Whatever the bytes, `EvidenceError` is all that is raised. Nothing here is verified: `chain.py` does that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from signerd.core import der, distinguished_names
from signerd.core.der import DerError
from signerd.core.evidence.errors import EvidenceError

MAX_CERTIFICATE_BYTES = 8192  # half of what evidence may have in all
MAX_EXTENSIONS = 64  # chips' certificates have up to a dozen
MAX_COMPARED_NAME_BYTES = 1024  # vendors' names have up to 300
MAX_SERIAL_BITS = 160  # 20 octets, RFC 5280 §4.1.2.2
_MAX_OID_OCTETS = 63  # as in OpenSSL and the cryptography package

BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"
DIGITAL_SIGNATURE, KEY_CERT_SIGN = 0, 5  # bits of keyUsage, RFC 5280 §4.2.1.3

_VERSION, _ISSUER_ID, _SUBJECT_ID, _EXTENSIONS = 0xA0, 0x81, 0x82, 0xA3
_BOOLEANS = {b"\x01\x01\x00": False, b"\x01\x01\xff": True}
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TIMES = {_UTC_TIME: re.compile(rb"[0-9]{12}Z"), _GENERALIZED_TIME: re.compile(rb"[0-9]{14}Z")}
_FIELDS = [der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE]
# X.680 §41; what says nothing in a type's own alphabet is None. T61String is what Latin-1 makes of it, as
# everybody reads it.
_STRINGS = {
    der.UTF8_STRING: "utf-8",
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString, also with characters that are not in its alphabet
    0x14: "latin-1",  # TeletexString
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_PEM = re.compile(r"-----BEGIN (X509 )?CERTIFICATE-----(?P<base64>[^-]*)-----END (X509 )?CERTIFICATE-----")
# RFC 4514 §3; other attributes are named by their OID.
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; `value` is what its OCTET STRING holds."""

    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate taken apart. Only `read_certificate` makes it. Two are equal if their bytes are."""

    der: bytes
    tbs: bytes = field(compare=False)  # what is signed, DER
    version: int = field(compare=False)  # as people count: 3 is v3
    serial: int = field(compare=False)  # may be zero or negative
    algorithm: bytes = field(compare=False)  # AlgorithmIdentifier of the signature, DER
    issuer: bytes = field(compare=False)  # Name, DER
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    subject: bytes = field(compare=False)  # Name, DER
    spki: bytes = field(compare=False)  # SubjectPublicKeyInfo, DER
    extensions: Mapping[str, Extension] = field(compare=False)  # by OID, dotted
    signature: bytes = field(compare=False)


@contextmanager
def _unreadable(what: str) -> Iterator[None]:
    try:
        yield
    except DerError as error:
        raise EvidenceError(f"{what} cannot be read: {error}") from error


def read_certificate(data: bytes) -> Certificate:
    """Takes a certificate apart.

    Args:
        data: DER, at most 8,192 bytes.

    Raises:
        EvidenceError: not of the form, or with more than 64 extensions.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise EvidenceError(f"a certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    with _unreadable("a certificate"):
        tbs, algorithm, signature = der.split_signed(data)
        fields = der.elements(der.content(tbs, der.SEQUENCE))
        version = _take_version(fields)
        if [each[0] for each in fields[:6]] != _FIELDS:
            raise DerError("not serial number, algorithm, issuer, validity, subject and key")
        serial, inner, issuer, validity, subject, spki = fields[:6]
        if inner != algorithm:  # §4.1.1.2: only one of them is signed
            raise DerError("it names two signature algorithms")
        not_before, not_after = _validity(validity)
        return Certificate(
            der=data,
            tbs=tbs,
            version=version,
            serial=_integer(serial),
            algorithm=algorithm,
            issuer=issuer,
            not_before=not_before,
            not_after=not_after,
            subject=subject,
            spki=spki,
            extensions=_extensions(_after_the_key(fields[6:])),
            signature=der.content(signature, der.BIT_STRING)[1:],
        )


def read_pem(text: str) -> Certificate:
    """The first certificate in a text (RFC 7468). Raises EvidenceError."""
    found = _PEM.search(text)
    if found is None:
        raise EvidenceError("no certificate, PEM")
    try:
        data = base64.b64decode("".join(found["base64"].split()), validate=True)
    except ValueError as error:
        raise EvidenceError("not base64 between the lines of PEM") from error
    return read_certificate(data)


def attributes(name: bytes) -> list[tuple[str, str | None]]:
    """The attributes of a Name, in its order: OID, dotted, and text.

    The text is None for a value that is no string, or whose bytes are none of its type. Characters that a
    type's alphabet leaves out, `_` in a PrintableString, are taken as they are.

    Raises:
        EvidenceError: not a Name.
    """
    with _unreadable("a name"):
        return [(dotted(kind), _text(value)) for rdn in _relative_names(name) for kind, value in rdn]


def readable(name: bytes) -> str:
    """A Name as people read it (RFC 4514). Raises EvidenceError."""
    with _unreadable("a name"):
        return ",".join(
            "+".join(_readable_attribute(kind, value) for kind, value in rdn)
            for rdn in reversed(list(_relative_names(name)))
        )


def same_name(one: bytes, other: bytes) -> bool:
    """True if two Names are one (RFC 5280 §7.1); what cannot be read is no other's name.

    To normalize a name costs up to 2 ms a KiB, before any signature is known to be right: longer ones are
    compared byte by byte, and the last names are remembered.
    """
    if one == other:
        return True
    if max(len(one), len(other)) > MAX_COMPARED_NAME_BYTES:
        return False
    try:
        return _compared(one) == _compared(other)
    except (DerError, UnicodeDecodeError):
        return False


_compared = lru_cache(maxsize=256)(distinguished_names.compared)


def basic_constraints(certificate: Certificate) -> tuple[bool, int | None] | None:
    """`cA` and `pathLenConstraint` (§4.2.1.9); None without the extension. Raises EvidenceError."""
    found = certificate.extensions.get(BASIC_CONSTRAINTS)
    if found is None:
        return None
    with _unreadable("basicConstraints"):
        fields = der.elements(der.content(found.value, der.SEQUENCE))
        is_ca = _BOOLEANS[fields.pop(0)] if fields and fields[0] in _BOOLEANS else False
        if [each[0] for each in fields] not in ([], [der.INTEGER]):
            raise DerError("not cA and pathLenConstraint")
        length = _integer(fields[0]) if fields else None
        if length is not None and length < 0:
            raise DerError("pathLenConstraint is negative")
        return is_ca, length


def key_usage(certificate: Certificate) -> frozenset[int] | None:
    """The bits of keyUsage (§4.2.1.3) that are set; None without the extension. Raises EvidenceError."""
    found = certificate.extensions.get(KEY_USAGE)
    if found is None:
        return None
    with _unreadable("keyUsage"):
        return frozenset(bits(der.content(found.value, der.BIT_STRING)))


def extended_key_usage(certificate: Certificate) -> frozenset[str] | None:
    """The purposes of extendedKeyUsage (§4.2.1.12), dotted; None without the extension.

    Raises:
        EvidenceError: not of the form.
    """
    found = certificate.extensions.get(EXTENDED_KEY_USAGE)
    if found is None:
        return None
    with _unreadable("extendedKeyUsage"):
        return frozenset(dotted(each) for each in der.elements(der.content(found.value, der.SEQUENCE)))


def bits(content: bytes) -> list[int]:
    """Numbers of the bits that are set in a BIT STRING's content (X.690 §8.6 and §11.2.1).

    Raises:
        DerError: no octet that counts the unused bits, or one of them is set.
    """
    octets = content[1:]
    if not content or content[0] > (7 if octets else 0):
        raise DerError("a BIT STRING does not say its length")
    if octets and octets[-1] & ~(-1 << content[0]):
        raise DerError("a BIT STRING's unused bits are set")
    return [bit for bit in range(8 * len(octets)) if octets[bit // 8] & 0x80 >> bit % 8]


@lru_cache(maxsize=1024)
def dotted(raw: bytes) -> str:
    """An OBJECT IDENTIFIER (X.690 §8.19), DER, as text.

    Raises:
        DerError: another element, or not in its one form.
    """
    octets = der.content(raw, der.OBJECT_IDENTIFIER)
    if not 0 < len(octets) <= _MAX_OID_OCTETS or octets[-1] & 0x80:
        raise DerError("not an OID")
    numbers, number, begins = [], 0, True
    for octet in octets:
        if begins and octet == 0x80:
            raise DerError("an OID is padded")
        number = number << 7 | octet & 0x7F
        begins = not octet & 0x80
        if begins:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(each) for each in (first, numbers[0] - 40 * first, *numbers[1:]))


def _take_version(fields: list[bytes]) -> int:
    if not fields or fields[0][0] != _VERSION:
        return 1
    return _integer(der.content(fields.pop(0), _VERSION)) + 1


def _integer(raw: bytes) -> int:
    octets = der.content(raw, der.INTEGER)
    if not octets or (len(octets) > 1 and octets[0] in (0x00, 0xFF) and octets[0] >> 7 == octets[1] >> 7):
        raise DerError("an INTEGER is not in its shortest form")
    return int.from_bytes(octets, "big", signed=True)


def _validity(raw: bytes) -> tuple[datetime, datetime]:
    times = der.elements(der.content(raw, der.SEQUENCE))
    if len(times) != 2:
        raise DerError("the validity has not two times")
    return _time(times[0]), _time(times[1])


def _time(raw: bytes) -> datetime:
    """UTCTime or GeneralizedTime in the one form of §4.1.2.5.1 and .2: seconds, Z, no fraction."""
    form = _TIMES.get(raw[0])
    if form is None:
        raise DerError("a time of another type")
    text = der.content(raw, raw[0])
    if not form.fullmatch(text):
        raise DerError("a time of another form")
    if raw[0] == _UTC_TIME:  # §4.1.2.5.1: 50 to 99 are years of the last century
        text = (b"19" if text >= b"50" else b"20") + text
    numbers = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
    try:
        year, month, day, hour, minute, second = numbers
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise DerError(f"no such time: {error}") from error


def _after_the_key(fields: list[bytes]) -> bytes:
    """What stands in [3] extensions; the unique identifiers before it (§4.1.2.8) say nothing."""
    tags = [each[0] for each in fields]
    if tags != sorted(set(tags)) or not {_ISSUER_ID, _SUBJECT_ID, _EXTENSIONS}.issuperset(tags):
        raise DerError("an unknown field, or one twice, or out of order")
    return der.content(fields[-1], _EXTENSIONS) if _EXTENSIONS in tags else der.sequence()


def _extensions(raw: bytes) -> Mapping[str, Extension]:
    found: dict[str, Extension] = {}
    listed = der.elements(der.content(raw, der.SEQUENCE))
    if len(listed) > MAX_EXTENSIONS:
        raise DerError(f"more than {MAX_EXTENSIONS} extensions")
    for each in listed:
        match der.elements(der.content(each, der.SEQUENCE)):
            case [kind, value]:
                critical = False
            case [kind, flag, value] if flag in _BOOLEANS:
                critical = _BOOLEANS[flag]
            case _:
                raise DerError("an extension is not its OID, critical and value")
        oid = dotted(kind)
        if oid in found:
            raise DerError(f"extension {oid} appears twice")
        found[oid] = Extension(critical, der.content(value, der.OCTET_STRING))
    return found


def _relative_names(name: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
    """Type and value, DER, of each attribute of each RelativeDistinguishedName."""
    for rdn in der.elements(der.content(name, der.SEQUENCE)):
        found = []
        for each in der.elements(der.content(rdn, der.SET)):
            match der.elements(der.content(each, der.SEQUENCE)):
                case [kind, value]:
                    found.append((kind, value))
                case _:
                    raise DerError("an attribute is not a type and a value")
        yield found


def _text(value: bytes) -> str | None:
    encoding = _STRINGS.get(value[0])
    if encoding is None:
        return None
    try:
        return der.content(value, value[0]).decode(encoding)
    except UnicodeDecodeError:
        return None


def _readable_attribute(kind: bytes, value: bytes) -> str:
    name = dotted(kind)
    text = _text(value)
    if text is None:  # RFC 4514 §2.4
        return f"{name}=#{value.hex()}"
    escaped = re.sub(r'([",+;<>\\])|^([ #])|( )$', r"\\\1\2\3", text).replace("\x00", r"\00")
    return f"{_SHORT_NAMES.get(name, name)}={escaped}"
