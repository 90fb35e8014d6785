"""A certificate of a chain, taken apart from its DER (RFC 5280 §4.1), as far as a path is judged by it.

The certificates of chips are as their vendors once wrote them. Their frame is read strictly, so that nothing
in it has two readings; a name or an extension that decides nothing is one element and is not looked into. Let
pass, because it hides nothing: a DEFAULT that is written out, GeneralizedTime before 2050, characters that
a type of string leaves out, and serial numbers that are zero or negative (§4.1.2.2).

All readers raise `Malformed`. Nothing is verified here.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from stringprep import in_table_b1

from auditor.core import der
from auditor.errors import Malformed

MAX_CERTIFICATE = 8_192  # bytes
MAX_EXTENSIONS = 64
_MAX_COMPARED_NAME = 1_024  # bytes; longer ones are compared byte by byte (docs/formats.md)
_MAX_OID = 63  # octets
_BASIC_CONSTRAINTS, _KEY_USAGE, _EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"
_TRUE, _FALSE = b"\x01\x01\xff", b"\x01\x01\x00"
_VERSION, _ISSUER_ID, _SUBJECT_ID, _EXTENSIONS = 0xA0, 0x81, 0x82, 0xA3
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SIX = [der.INTEGER] + [der.SEQUENCE] * 5
# Types of string (X.680 §41) as programs decode them.
_CHARACTERS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, of which few keep to T.61
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
# Those that letter case is folded in; values of all other types are compared as bytes.
_FOLDED = frozenset({0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E})
_BEGIN, _END = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----"), "-----END"


@dataclass(frozen=True, slots=True)
class Extension:
    """`value` is the content of extnValue."""

    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What stands in a certificate. Only `read_certificate` makes one. Those of the same bytes are equal."""

    der: bytes
    tbs: bytes  # DER: what is signed
    version: int  # 3 is v3
    serial: int
    algorithm: bytes  # AlgorithmIdentifier, DER, of the signature
    issuer: bytes  # Name, DER
    not_before: datetime
    not_after: datetime
    subject: bytes  # Name, DER
    spki: bytes  # DER
    extensions: Mapping[str, Extension]  # by dotted OID
    signature: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)


def read_certificate(data: bytes) -> Certificate:
    """Takes a certificate apart. Raises Malformed."""
    if len(data) > MAX_CERTIFICATE:
        raise Malformed("the certificate is too large")
    match der.members(data):
        case [tbs, algorithm, signature]:
            bits = der.content(signature, der.BIT_STRING)
        case _:
            raise Malformed("a certificate is not three elements")
    if not bits.startswith(b"\x00"):
        raise Malformed("a signature is not of whole octets")
    fields = der.members(tbs)
    version = 1
    if fields and fields[0][0] == _VERSION:
        version = 1 + integer(der.content(fields[0], _VERSION))
        fields = fields[1:]
    if [each[0] for each in fields[:6]] != _SIX:
        raise Malformed("a certificate is not of the form")
    if fields[1] != algorithm:  # only the inner one is signed
        raise Malformed("a certificate names two signature algorithms")
    begin, end = _validity(fields[3])
    return Certificate(
        der=data,
        tbs=tbs,
        version=version,
        serial=integer(fields[0]),
        algorithm=algorithm,
        issuer=fields[2],
        not_before=begin,
        not_after=end,
        subject=fields[4],
        spki=fields[5],
        extensions=_extensions(fields[6:]),
        signature=bits[1:],
    )


def read_pem(text: str) -> Certificate:
    """The first certificate of a text (RFC 7468). Raises Malformed."""
    begin = _BEGIN.search(text)
    if begin is None or _END not in text[begin.end() :]:
        raise Malformed("is not a certificate in PEM")
    body = text[begin.end() : text.index(_END, begin.end())]
    try:
        return read_certificate(base64.b64decode("".join(body.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise Malformed("is not a certificate in PEM") from error


def attributes(name: bytes) -> list[tuple[str, str | None]]:
    """OID and text of each attribute of a Name; None for a value that is no text. Raises Malformed."""
    return [(dotted(kind), _decoded(value)) for rdn in _rdns(name) for kind, value in rdn]


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two Names are one (RFC 5280 §7.1): types of string, case and white space tell none apart.
    A name that cannot be read is like no other."""
    if one == other:
        return True
    if max(len(one), len(other)) > _MAX_COMPARED_NAME:
        return False
    try:
        return comparable(one) == comparable(other)
    except Malformed:
        return False


def comparable(name: bytes) -> list[set[tuple[bytes, bytes | str]]]:
    """A Name in the form in which two that are one are equal (RFC 5280 §7.1). Raises Malformed."""
    return [{_comparable_attribute(kind, value) for kind, value in rdn} for rdn in _rdns(name)]


def basic_constraints(certificate: Certificate) -> tuple[bool, int | None] | None:
    """cA and pathLenConstraint, if the certificate has the extension. Raises Malformed."""
    extension = certificate.extensions.get(_BASIC_CONSTRAINTS)
    if extension is None:
        return None
    fields = der.members(extension.value)
    ca = fields[:1] == [_TRUE]
    if ca or fields[:1] == [_FALSE]:
        fields = fields[1:]
    match [field[0] for field in fields]:
        case []:
            return ca, None
        case [der.INTEGER] if (length := integer(fields[0])) >= 0:
            return ca, length
        case _:
            raise Malformed("basicConstraints are not of the form")


def key_usage(certificate: Certificate) -> frozenset[int] | None:
    """The bits that are set, if the certificate has the extension. Raises Malformed."""
    extension = certificate.extensions.get(_KEY_USAGE)
    return None if extension is None else frozenset(set_bits(der.content(extension.value, der.BIT_STRING)))


def extended_key_usage(certificate: Certificate) -> frozenset[str] | None:
    """The purposes, dotted, if the certificate has the extension. Raises Malformed."""
    extension = certificate.extensions.get(_EXTENDED_KEY_USAGE)
    return None if extension is None else frozenset(dotted(each) for each in der.members(extension.value))


def set_bits(content: bytes) -> list[int]:
    """Numbers of the bits that are set in a BIT STRING's content (X.690 §8.6, §11.2). Raises Malformed."""
    if not content or content[0] > 7 or (len(content) == 1 and content[0]):
        raise Malformed("not a BIT STRING")
    number = int.from_bytes(content[1:], "big")
    size = 8 * (len(content) - 1)
    if number & ((1 << content[0]) - 1):
        raise Malformed("a BIT STRING with padding that is not zero")
    return [bit for bit in range(size) if number >> (size - 1 - bit) & 1]


def dotted(raw: bytes) -> str:
    """An OBJECT IDENTIFIER's text (X.690 §8.19). Raises Malformed."""
    octets = der.content(raw, der.OBJECT_IDENTIFIER)
    if not octets or len(octets) > _MAX_OID or octets[-1] >= 0x80:
        raise Malformed("not an OID")
    arcs = [0]
    for position, octet in enumerate(octets):
        if octet == 0x80 and (position == 0 or octets[position - 1] < 0x80):
            raise Malformed("an OID that is padded")
        arcs[-1] = arcs[-1] << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(0)
    top = arcs[0] // 40 if arcs[0] < 80 else 2
    return ".".join(map(str, [top, arcs[0] - 40 * top, *arcs[1:-1]]))


def integer(raw: bytes) -> int:
    """An INTEGER's value. Raises Malformed."""
    octets = der.content(raw, der.INTEGER)
    number = int.from_bytes(octets, "big", signed=True)
    # X.690 §8.3.2: the fewest octets that hold it.
    if len(octets) != (number.bit_length() if number >= 0 else (~number).bit_length()) // 8 + 1:
        raise Malformed("an INTEGER that is not in its shortest form")
    return number


def _validity(raw: bytes) -> tuple[datetime, datetime]:
    match der.members(raw):
        case [begin, end]:
            return _time(begin), _time(end)
        case _:
            raise Malformed("a validity is not two times")


def _time(raw: bytes) -> datetime:
    """§4.1.2.5.1 and .2: seconds are there, fractions are not, Z."""
    text = der.content(raw, raw[0])
    if raw[0] == _UTC_TIME and len(text) == 13:
        text = (b"20" if text[:1] < b"5" else b"19") + text
    elif raw[0] != _GENERALIZED_TIME or len(text) != 15:
        raise Malformed("a time that is not of a certificate's form")
    if not text[:-1].isdigit() or text[-1:] != b"Z":
        raise Malformed("a time that is not of a certificate's form")
    parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
    try:
        return datetime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], tzinfo=UTC)
    except ValueError as error:
        raise Malformed("a time that is none") from error


def _extensions(rest: Sequence[bytes]) -> dict[str, Extension]:
    """From the fields after the key: perhaps two unique identifiers, perhaps extensions."""
    tags = [field[0] for field in rest]
    if any(tag not in {_ISSUER_ID, _SUBJECT_ID, _EXTENSIONS} for tag in tags) or tags != sorted(set(tags)):
        raise Malformed("a certificate has a field that is not known here")
    if _EXTENSIONS not in tags:
        return {}
    listed = der.members(der.content(rest[-1], _EXTENSIONS))
    if len(listed) > MAX_EXTENSIONS:
        raise Malformed("a certificate has too many extensions")
    found: dict[str, Extension] = {}
    for each in listed:
        parts = der.members(each)
        if len(parts) not in {2, 3} or (len(parts) == 3 and parts[1] not in {_TRUE, _FALSE}):
            raise Malformed("an extension is not of the form")
        oid = dotted(parts[0])
        if oid in found:
            raise Malformed("an extension appears twice")
        critical = len(parts) == 3 and parts[1] == _TRUE
        found[oid] = Extension(critical, der.content(parts[-1], der.OCTET_STRING))
    return found


def _rdns(name: bytes) -> list[list[tuple[bytes, bytes]]]:
    rdns = []
    for rdn in der.members(name):
        pairs = [der.members(attribute) for attribute in der.members(rdn, der.SET)]
        if any(len(pair) != 2 for pair in pairs):
            raise Malformed("a name's attribute is not a type and a value")
        rdns.append([(pair[0], pair[1]) for pair in pairs])
    return rdns


def _decoded(value: bytes) -> str | None:
    characters = _CHARACTERS.get(value[0])
    try:
        return None if characters is None else der.content(value, value[0]).decode(characters)
    except UnicodeDecodeError:
        return None


def _comparable_attribute(kind: bytes, value: bytes) -> tuple[bytes, bytes | str]:
    if kind[0] != der.OBJECT_IDENTIFIER:
        raise Malformed("a name's attribute has no type")
    if value[0] not in _FOLDED:
        return kind, value
    text = _decoded(value)
    if text is None:
        raise Malformed("a name's text is not of its type")
    return kind, _folded(text)


def _folded(text: str) -> str:
    """RFC 4518: case folded, normalized, white space at the ends gone and one blank inside, what cannot be
    seen left out."""
    seen = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(" " if each.isspace() else each for each in seen if not _unseen(each)).split())


def _unseen(each: str) -> bool:
    if each.isspace():
        return False
    return unicodedata.category(each) in {"Cc", "Cf"} or in_table_b1(each) or each == "\ufffc"
