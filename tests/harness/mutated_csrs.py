"""CSRs as libraries write them, with mutations, signed afterwards by their own key."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from boards.attesters.certificate_writer import (
    Hash,
    basic_constraints,
    integer,
    key_usage,
    oid,
    seal,
    spki_of,
    tlv,
)
from harness.mutated_tokens import bytes_changed
from harness.rebuilt import key_of, name

_KEY_NUMBER = 910


_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_ATTRIBUTES = (
    ("1.2.840.113549.1.9.7", tlv(0x31, tlv(0x0C, b"a secret"))),
    ("1.2.840.113549.1.9.2", tlv(0x31, tlv(0x13, b"under_score"))),
    ("1.3.6.1.4.1.311.13.2.3", tlv(0x31, tlv(0x16, b"10.0.1"))),
    ("1.2.3.4", tlv(0x31, b"\x30\x80")),
    ("1.2.3.5", tlv(0x31)),
)
_NETSCAPE = tlv(0x30, oid("2.16.840.1.113730.1.1"), tlv(0x04, tlv(0x03, b"\x05\xa0")))
_ASKED: tuple[Callable[[], bytes], ...] = (
    lambda: tlv(0x30, oid("2.5.29.17"), tlv(0x04, b"no DER")),
    lambda: basic_constraints(ca=False),
    lambda: key_usage("digital_signature"),
    lambda: _NETSCAPE,
    lambda: tlv(0x30, oid("2.5.29.14"), tlv(0x01, b"\x00"), tlv(0x04, tlv(0x04, bytes(20)))),
)
_OF_A_CA: tuple[Callable[[], bytes], ...] = (
    lambda: basic_constraints(ca=True),
    lambda: key_usage("key_cert_sign"),
    lambda: key_usage("crl_sign", "digital_signature"),
    lambda: tlv(0x30, oid("2.5.29.30"), tlv(0x04, tlv(0x30))),
    lambda: tlv(0x30, oid("2.5.29.36"), tlv(0x04, tlv(0x30))),
    lambda: tlv(0x30, oid("2.5.29.19"), tlv(0x04, tlv(0x30, tlv(0x01, b"\x01")))),
    lambda: tlv(0x30, oid("2.5.29.15"), tlv(0x04, tlv(0x03))),
    lambda: tlv(0x31),
)


def csr(rng: Random) -> tuple[bytes, bool, str]:
    """A CSR, whether it must be accepted, and how it was made."""
    right = rng.random() < 0.5
    key = key_of(rng.choice(("p256", "p384", "p256", "rsa2048")), _KEY_NUMBER)
    subject = name([f"CN={rng.choice(('utf8', 'printable', 't61'))}:{rng.choice(('x', 'a_b@c', ''))}"])
    attributes = [
        tlv(0x30, oid(kind), value) for kind, value in rng.sample(_ATTRIBUTES, rng.choice((0, 0, 1, 2)))
    ]
    asked = [make() for make in rng.sample(_ASKED, rng.choice((0, 1, 2)))]
    told = [f"{len(attributes)} attributes, {len(asked)} extensions"]
    version = 0
    if not right:
        match rng.randrange(4):
            case 0:
                asked.append(rng.choice(_OF_A_CA)())
                told.append("asks for a CA, or badly")
            case 1:
                attributes += attributes or [tlv(0x30, oid("1.2.3"), tlv(0x30))]
                told.append("an attribute twice, or badly")
            case 2:
                version = rng.choice((1, 2, -1))
            case _:
                told.append("bytes")
    if asked:
        attributes.append(tlv(0x30, oid(_EXTENSION_REQUEST), tlv(0x31, tlv(0x30, *asked))))
    rng.shuffle(attributes)
    fields = tlv(0xA0, *attributes) if attributes or rng.random() < 0.7 else b""
    info = tlv(0x30, integer(version), subject, spki_of(key), fields)
    if not right and told[-1] == "bytes":
        info = bytes_changed(rng, info)
    used: Hash = rng.choice(("sha256", "sha384", "sha512"))
    if not right and rng.random() < 0.2:
        used = rng.choice(("sha1", "sha224"))
    made = seal(key, info, used)
    if not right and rng.random() < 0.2:
        made = bytes_changed(rng, made)
        told.append("bytes of the whole")
    return made, right, ", ".join(told)
