"""Chains rebuilt from a description, byte for byte but for keys and signatures.

A certificate of real silicon is described by its fields, in a few lines of TOML or as the fields of a genuine
one. Keys are those that the caller makes, so that a chain can be signed again whatever was changed in it:

    chain = build(templates, keys_of(templates))
    chain.evidence(transcript)

    subject = ["O=utf8:Example", "CN=printable:sn0123"]      # one RDN each; tag, then the text
    extensions = ["2.5.29.19! 30060101ff020100", "2.5.29.14 ski", "2.5.29.35 aki"]   # `!`: critical
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from boards.attesters.certificate_writer import Hash, Key, KeyType, integer, make_key, oid, sign, spki_of, tlv
from boards.attesters.certificate_writer import _algorithm as algorithm_of
from boards.attesters.x509 import X509Attester

_NAMES = {
    "C": "2.5.4.6",
    "ST": "2.5.4.8",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "CN": "2.5.4.3",
    "serialNumber": "2.5.4.5",
}
_TAGS = {"utf8": 0x0C, "printable": 0x13, "ia5": 0x16, "t61": 0x14, "bmp": 0x1E, "universal": 0x1C}
_ENCODINGS = {0x1E: "utf-16-be", 0x1C: "utf-32-be"}
SKI, AKI = b"ski", b"aki"  # in the place of an extension's value: of the key, and of the issuer's


@dataclass(frozen=True, slots=True)
class Template:
    """A certificate's fields, DER where nothing else is said. Issuer, key and signature follow."""

    subject: bytes  # Name
    extensions: tuple[tuple[str, bytes, bytes], ...]  # OID, the element of `critical` or b"", value
    key: str = "p256"
    serial: bytes = b"\x01"  # content of the INTEGER
    not_before: bytes = b"200101000000Z"
    not_after: bytes = b"99991231235959Z"
    version: bytes = b"\xa0\x03\x02\x01\x02"
    hash: Hash = "sha256"  # of its signature
    issuer: bytes | None = None  # Name; None: the subject above
    unique_ids: bytes = b""
    behind: bytes = b""  # bytes after the last field
    algorithm: bytes | None = None  # AlgorithmIdentifier inside the signed part; None: that of the signature
    signer: int = 1  # whose key signs: so many places above
    place: int | None = None  # whose key it certifies; None: that of its own place
    mangle: Callable[[bytes], bytes] | None = None  # of the signed part, before it is signed
    outer: bytes | None = None  # AlgorithmIdentifier beside the signature; None: the signer's


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain made of templates."""

    certificates: tuple[bytes, ...]  # leaf first, without the root
    root: bytes
    key: Key  # of the leaf

    @property
    def attester(self) -> X509Attester:
        """What signs transcripts."""
        return X509Attester(self.key, self.certificates)


def name(attributes: Sequence[str]) -> bytes:
    """`["O=utf8:Example"]` as a Name, one RDN each; `+` before an attribute puts it into the RDN before."""
    sets: list[list[bytes]] = []
    for text in attributes:
        kind, _, rest = text.lstrip("+").partition("=")
        tag, _, value = rest.partition(":")
        number = _TAGS[tag]
        encoded = tlv(number, value.encode(_ENCODINGS.get(number, "utf-8")))
        attribute = tlv(0x30, oid(_NAMES.get(kind, kind)), encoded)
        if text.startswith("+"):
            sets[-1].append(attribute)
        else:
            sets.append([attribute])
    return tlv(0x30, *(tlv(0x31, *sorted(one)) for one in sets))


def described(description: Mapping[str, Any]) -> Template:
    """The template of one `[[item.certificate]]`."""
    extensions = []
    for text in description.get("extensions", ()):
        dotted, _, value = text.partition(" ")
        critical = tlv(0x01, b"\xff") if dotted.endswith("!") else b""
        raw = value.encode() if value in {"ski", "aki"} else bytes.fromhex(value)
        extensions.append((dotted.rstrip("!"), critical, raw))
    given = {
        "key": description.get("key", "p256"),
        "hash": description.get("hash", "sha256"),
    }
    for member in ("not_before", "not_after"):
        if member in description:
            given[member] = description[member].encode()
    if "serial" in description:
        given["serial"] = bytes.fromhex(description["serial"])
    return Template(name(description["subject"]), tuple(extensions), **given)


@cache
def _seeded(curve: str, number: int) -> Key:
    """Keys that are the same in every run: what fails can be run again. Nobody trusts them."""
    scalar = int.from_bytes(hashlib.sha512(f"birthmark zoo {curve} {number}".encode()).digest()[:31], "big")
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "k256": ec.SECP256K1()}
    if curve == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(scalar.to_bytes(32, "big"))
    return ec.derive_private_key(scalar, curves[curve])


@cache
def _rsa(key_type: KeyType, _number: int) -> Key:
    return make_key(key_type)


def key_of(kind: str, number: int) -> Key:
    """The key of this type for this place in a chain."""
    if kind.startswith("rsa"):
        return _rsa(kind, number)
    return _seeded(kind, number)


def build(templates: Sequence[Template], *, family: int = 0) -> Chain:
    """Signs a chain.

    Args:
        templates: the root first, the leaf last.
        family: another number, other keys.
    """
    keys = [
        key_of(template.key, 16 * family + (number if template.place is None else template.place))
        for number, template in enumerate(templates)
    ]
    made: list[bytes] = []
    for number, template in enumerate(templates):
        above = max(number - template.signer, 0)
        subject_above = templates[max(number - 1, 0)].subject
        issuer = subject_above if template.issuer is None else template.issuer
        made.append(_certificate(template, issuer, keys[number], keys[above]))
    return Chain(tuple(made[:0:-1]), made[0], keys[-1])


def _certificate(template: Template, issuer: bytes, key: Key, signer: Key) -> bytes:
    algorithm = algorithm_of(signer, template.hash)
    extensions = b"".join(
        tlv(0x30, oid(dotted), critical, tlv(0x04, _value(value, key, signer)))
        for dotted, critical, value in template.extensions
    )
    times = (
        tlv(0x17 if len(text) == 13 else 0x18, text) for text in (template.not_before, template.not_after)
    )
    tbs = tlv(
        0x30,
        template.version,
        tlv(0x02, template.serial),
        algorithm if template.algorithm is None else template.algorithm,
        issuer,
        tlv(0x30, *times),
        template.subject,
        spki_of(key),
        template.unique_ids,
        tlv(0xA3, tlv(0x30, extensions)) if extensions else b"",
        template.behind,
    )
    if template.mangle is not None:
        tbs = template.mangle(tbs)
    outer = algorithm if template.outer is None else template.outer
    return tlv(0x30, tbs, outer, tlv(0x03, b"\x00", sign(signer, tbs, template.hash)))


def _value(value: bytes, key: Key, signer: Key) -> bytes:
    if value == SKI:
        return tlv(0x04, key_id(key))
    if value == AKI:
        return tlv(0x30, tlv(0x80, key_id(signer)))
    return value


def key_id(key: Key) -> bytes:
    """RFC 5280 §4.2.1.2, method 1, by the whole SubjectPublicKeyInfo: unique is enough here."""
    return hashlib.sha1(spki_of(key), usedforsecurity=False).digest()


def changed(templates: Sequence[Template], number: int, **fields: Any) -> list[Template]:
    """The chain with some fields of one certificate changed."""
    found = list(templates)
    found[number] = replace(found[number], **fields)
    return found


def integer_content(value: int) -> bytes:
    """Content of an INTEGER."""
    return integer(value)[2:]


def template_of(certificate: bytes, key: str = "p256") -> Template:
    """The fields of a genuine certificate, to be signed again with a key of ours.

    Args:
        certificate: DER, v3.
        key: type of the key that takes the place of its own.
    """
    tbs, _, _ = members(certificate)
    version, serial, _, _, validity, subject, _, *rest = members(tbs)
    begin, end = (content(time) for time in members(validity))
    extensions = []
    for field in rest:
        if field[0] == 0xA3:
            for one in members(members(field)[0]):
                kind, *critical, value = members(one)
                extensions.append((dotted_of(kind), b"".join(critical), content(value)))
    return Template(
        subject,
        tuple(extensions),
        key=key,
        serial=content(serial),
        not_before=begin,
        not_after=end,
        version=version,
        unique_ids=b"".join(field for field in rest if field[0] in (0x81, 0x82)),
    )


def content(element: bytes) -> bytes:
    """Of a DER element whose length is right."""
    octets = element[1] & 0x7F if element[1] >= 0x80 else 0
    return element[2 + octets :]


def members(element: bytes) -> list[bytes]:
    """The elements inside a constructed one."""
    data, found = content(element), []
    while data:
        octets = data[1] & 0x7F if data[1] >= 0x80 else 0
        length = int.from_bytes(data[2 : 2 + octets], "big") if octets else data[1]
        found.append(data[: 2 + octets + length])
        data = data[2 + octets + length :]
    return found


def dotted_of(element: bytes) -> str:
    """Of an OBJECT IDENTIFIER."""
    numbers, number = [], 0
    for octet in content(element):
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
