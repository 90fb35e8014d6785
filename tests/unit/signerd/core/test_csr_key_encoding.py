"""The key of a CSR is read where it stands, not found somewhere in the bytes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from boards.attesters.certificate_writer import (
    Key,
    common_name,
    extension,
    integer,
    make_key,
    oid,
    seal,
    spki_of,
    tlv,
)
from signerd.core.csr import check_csr
from signerd.core.names import KeyType
from signerd.errors import Code, Refused


def csr(key: Key, spki: bytes, identifier: bytes) -> bytes:
    """A CSR for this SubjectPublicKeyInfo that asks for this subjectKeyIdentifier."""
    asked = tlv(0x30, extension("2.5.29.14", tlv(0x04, identifier)))
    attribute = tlv(0x30, oid("1.2.840.113549.1.9.14"), tlv(0x31, asked))
    return seal(key, tlv(0x30, integer(0), common_name("board"), spki, tlv(0xA0, attribute)))


def compressed(key: Key) -> bytes:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    return tlv(0x30, algorithm, tlv(0x03, b"\x00", point))


@pytest.mark.parametrize("identifier", [b"an identifier", None], ids=["another", "the canonical key"])
def test_a_key_in_another_form_is_refused_whatever_stands_beside_it(identifier: bytes | None) -> None:
    key = make_key("p256")
    canonical = spki_of(key)
    beside = canonical if identifier is None else identifier
    assert check_csr(csr(key, canonical, beside), accepted=(KeyType.P256,)).spki == canonical
    with pytest.raises(Refused) as refusal:
        check_csr(csr(key, compressed(key), beside), accepted=(KeyType.P256,))
    assert refusal.value.code is Code.KEY_REJECTED
