from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import strict_cbor
from signerd.core.stamp import IssuedBoard, StampError, check_agrees, check_signature, parse_stamp

ISSUED = IssuedBoard(bytes([1]) * 32, "chip:1", "BM-000001", b"certificate", b"settings")
FIELDS: list[Any] = [
    "birthmark-stamp-v1",
    ISSUED.challenge,
    "chip:1",
    "BM-000001",
    hashlib.sha256(b"certificate").digest(),
    hashlib.sha256(b"settings").digest(),
    {"app": ["1.2.0", bytes(32)]},
    {"secure_boot": True},
    None,
]
KEY = ec.generate_private_key(ec.SECP256R1())


def with_field(index: int, value: Any) -> bytes:
    return strict_cbor.encode([*FIELDS[:index], value, *FIELDS[index + 1 :]])


STAMP = strict_cbor.encode(FIELDS)


def test_reads_a_stamp_that_agrees() -> None:
    stamp = parse_stamp(STAMP)
    check_agrees(stamp, ISSUED)
    assert stamp.claims.security_state == {"secure_boot": True}
    assert parse_stamp(with_field(8, bytes(32))).pop_commitment == bytes(32)


@pytest.mark.parametrize(
    ("index", "value"),
    [(1, bytes(32)), (2, "chip:2"), (3, "BM-000002"), (4, bytes(32)), (5, bytes(32))],
)
def test_each_field_must_be_what_was_issued(index: int, value: Any) -> None:
    stamp = parse_stamp(with_field(index, value))
    with pytest.raises(StampError, match="not the one that was issued"):
        check_agrees(stamp, ISSUED)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, "birthmark-stamp-v2"),
        (0, "birthmark-evidence-v1"),
        (1, bytes(31)),
        (2, b"chip:1"),
        (3, None),
        (4, bytes(33)),
        (5, "x"),
        (6, [["app", "1.2.0"]]),
        (7, {"secure_boot": "yes"}),
        (8, bytes(16)),
        (8, "code"),
        (8, False),
    ],
)
def test_other_forms_are_refused(index: int, value: Any) -> None:
    with pytest.raises(StampError):
        parse_stamp(with_field(index, value))


def test_missing_and_further_fields_are_refused() -> None:
    for fields in (FIELDS[:-1], [*FIELDS, None]):
        with pytest.raises(StampError):
            parse_stamp(strict_cbor.encode(fields))


def test_signatures_of_each_key_type() -> None:
    check_signature(KEY.public_key(), STAMP, KEY.sign(STAMP, ec.ECDSA(hashes.SHA256())))
    p384 = ec.generate_private_key(ec.SECP384R1())
    check_signature(p384.public_key(), STAMP, p384.sign(STAMP, ec.ECDSA(hashes.SHA384())))
    with pytest.raises(StampError):
        check_signature(p384.public_key(), STAMP, p384.sign(STAMP, ec.ECDSA(hashes.SHA256())))
    key = rsa.generate_private_key(65537, 2048)
    check_signature(key.public_key(), STAMP, key.sign(STAMP, padding.PKCS1v15(), hashes.SHA256()))


def test_every_changed_byte_breaks_the_signature() -> None:
    signature = KEY.sign(STAMP, ec.ECDSA(hashes.SHA256()))
    for position in range(len(STAMP)):
        changed = bytearray(STAMP)
        changed[position] ^= 1
        with pytest.raises(StampError):
            check_signature(KEY.public_key(), bytes(changed), signature)


@pytest.mark.parametrize("signature", [b"", bytes(513), b"\x30\x00", bytes(64)])
def test_other_signatures_are_refused(signature: bytes) -> None:
    with pytest.raises(StampError):
        check_signature(KEY.public_key(), STAMP, signature)


def test_fields_are_compared_to_what_was_issued_in_this_session() -> None:
    with pytest.raises(StampError):
        check_agrees(parse_stamp(STAMP), replace(ISSUED, challenge=bytes(32)))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_stamp_or_the_domain_error(data: bytes) -> None:
    with pytest.raises(StampError):
        parse_stamp(data)
