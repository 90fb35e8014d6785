from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.evidence.cose import (
    CoseError,
    Mac0,
    MacAlgorithm,
    Sign1,
    SignatureAlgorithm,
    mac_structure,
    read_message,
    sig_structure,
    verify_sign1,
)

VECTORS = Path(__file__).parents[4] / "vectors" / "psa"
PAYLOAD = b"payload"
# Algorithm -> number (RFC 9053 §2.1), curve, hash, size of r.
ES: dict[str, tuple[int, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": (-7, ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": (-35, ec.SECP384R1(), hashes.SHA384(), 48),
    "ES512": (-36, ec.SECP521R1(), hashes.SHA512(), 66),
}
KEYS = {name: ec.generate_private_key(curve) for name, (_, curve, _, _) in ES.items()}
# SP 800-186 §3.2.1.5: the order of P-521.
ORDER_P521 = (1 << 521) - 657877501894328237357444332315020117536923257219387276263472201219398408051703


def spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signature(
    name: str,
    protected: bytes,
    payload: bytes | None = PAYLOAD,
    aad: bytes = b"",
    context: str = "Signature1",
) -> bytes:
    _, _, digest, size = ES[name]
    message = cbor2.dumps([context, protected, aad, payload])
    r, s = decode_dss_signature(KEYS[name].sign(message, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def protected_of(number: object) -> bytes:
    return cbor2.dumps({1: number})


def sign1(name: str = "ES256", **change: Any) -> bytes:
    """A message as it should be, but for `change`."""
    protected = change.get("protected", protected_of(ES[name][0]))
    payload = change.get("payload", PAYLOAD)
    proof = change.get("proof", signature(name, protected, payload))
    parts = [protected, change.get("unprotected", {}), payload, proof]
    return cbor2.dumps(cbor2.CBORTag(change.get("tag", 18), parts))


def mac0(number: int = 5, **change: Any) -> bytes:
    size = {5: 32, 6: 48, 7: 64}.get(number, 32)
    parts = [protected_of(number), {}, PAYLOAD, change.get("proof", bytes(size))]
    return cbor2.dumps(cbor2.CBORTag(change.get("tag", 17), parts))


def read_sign1(data: bytes) -> Sign1:
    message = read_message(data)
    assert isinstance(message, Sign1)
    return message


@pytest.mark.parametrize("name", ES)
def test_a_signature_of_each_algorithm_verifies(name: str) -> None:
    message = read_sign1(sign1(name))
    assert (message.algorithm, message.kid, message.payload) == (SignatureAlgorithm[name], None, PAYLOAD)
    verify_sign1(message, spki(KEYS[name].public_key()))


@pytest.mark.parametrize(("number", "hash_name"), [(5, "sha256"), (6, "sha384"), (7, "sha512")])
def test_a_mac_of_each_algorithm_is_read(number: int, hash_name: str) -> None:
    message = read_message(mac0(number))
    assert isinstance(message, Mac0)
    assert message.algorithm is MacAlgorithm(number)
    assert message.algorithm.hash_name == hash_name
    assert len(message.tag) == hashlib.new(hash_name).digest_size


def test_the_structures_are_those_of_the_standard() -> None:
    signed = read_sign1(sign1())
    assert sig_structure(signed, b"aad").hex() == (
        "84" + "6a5369676e617475726531" + "43a10126" + "43616164" + "477061796c6f6164"
    )
    maced = read_message(mac0())
    assert isinstance(maced, Mac0)
    assert mac_structure(maced, b"aad").hex() == "84644d414330" + "43a10105" + "43616164" + "477061796c6f6164"


def test_a_nil_payload_is_signed_as_nil_and_a_key_id_is_handed_on() -> None:
    message = read_sign1(sign1(payload=None, unprotected={4: b"\x21"}))
    assert (message.payload, message.kid) == (None, b"\x21")
    verify_sign1(message, spki(KEYS["ES256"].public_key()))


def test_external_data_is_signed() -> None:
    protected = protected_of(-7)
    message = read_sign1(sign1(proof=signature("ES256", protected, aad=b"aad")))
    verify_sign1(message, spki(KEYS["ES256"].public_key()), external_aad=b"aad")
    for other in (b"", b"aae"):
        with pytest.raises(CoseError, match="does not verify"):
            verify_sign1(message, spki(KEYS["ES256"].public_key()), external_aad=other)


WELL_FORMED_BUT_NOT_ACCEPTED: dict[str, Callable[[], bytes]] = {
    "no algorithm": lambda: sign1(protected=b"\xa0"),
    "an empty protected header": lambda: sign1(protected=b""),
    "alg none": lambda: sign1(protected=protected_of("none"), proof=b""),
    "alg 0": lambda: sign1(protected=protected_of(0)),
    "alg null": lambda: sign1(protected=protected_of(None)),
    "ES256 by name": lambda: sign1(protected=protected_of("ES256")),
    "ES256K": lambda: sign1(protected=protected_of(-47)),
    "EdDSA": lambda: sign1(protected=protected_of(-8)),
    "RS1, SHA-1": lambda: sign1(protected=protected_of(-65535)),
    "an algorithm of MACs in Sign1": lambda: sign1(protected=protected_of(5), proof=bytes(32)),
    "an algorithm of signatures in Mac0": lambda: mac0(-7, proof=bytes(64)),
    "HMAC 256/64": lambda: mac0(4, proof=bytes(8)),
    "AES-MAC": lambda: mac0(14, proof=bytes(16)),
    "the algorithm unprotected": lambda: sign1(protected=b"\xa0", unprotected={1: -7}),
    "the algorithm twice": lambda: sign1(protected=bytes.fromhex("a201260126")),
    "the algorithm in a longer form": lambda: sign1(protected=bytes.fromhex("a1013806")),
    "the label in a longer form": lambda: sign1(protected=bytes.fromhex("a1180126")),
    "an indefinite protected header": lambda: sign1(protected=bytes.fromhex("bf0126ff")),
    "a critical header": lambda: sign1(protected=cbor2.dumps({1: -7, 2: [4]})),
    "a protected key id": lambda: sign1(protected=cbor2.dumps({1: -7, 4: b"\x21"})),
    "a content type": lambda: sign1(protected=cbor2.dumps({1: -7, 3: 0})),
    "bytes behind the protected header": lambda: sign1(protected=bytes.fromhex("a1012600")),
    "another unprotected parameter": lambda: sign1(unprotected={33: b"chain"}),
    "a key id and another": lambda: sign1(unprotected={4: b"\x21", 5: b""}),
    "a key id of text": lambda: sign1(unprotected={4: "key"}),
    "a key id under a text label": lambda: sign1(unprotected={"4": b"\x21"}),
    "a payload of text": lambda: sign1(payload="payload"),
    "no tag": lambda: sign1()[1:],
    "two tags": lambda: b"\xd2" + sign1(),
    "the tag of a CWT": lambda: bytes.fromhex("d83d") + sign1(),
    "self-described": lambda: bytes.fromhex("d9d9f7") + sign1(),
    "the tag of Mac0": lambda: sign1(tag=17),
    "the tag of Sign1": lambda: mac0(tag=18),
    "the tag of COSE_Sign": lambda: sign1(tag=98),
    "three parts": lambda: cbor2.dumps(cbor2.CBORTag(18, [protected_of(-7), {}, PAYLOAD])),
    "five parts": lambda: cbor2.dumps(cbor2.CBORTag(18, [protected_of(-7), {}, PAYLOAD, bytes(64), b""])),
    "a byte behind it": lambda: sign1() + b"\x00",
    "nothing": lambda: b"",
    "a signature of DER": lambda: sign1(proof=KEYS["ES256"].sign(b"", ec.ECDSA(hashes.SHA256()))),
    "a signature of 63 bytes": lambda: sign1(proof=bytes(63)),
    "a signature of 65 bytes": lambda: sign1(proof=bytes(65)),
    "no signature": lambda: sign1(proof=b""),
    "a signature of another algorithm's size": lambda: sign1("ES384", proof=bytes(64)),
    "a cut tag": lambda: mac0(proof=bytes(31)),
    "a tag of 16 bytes": lambda: mac0(proof=bytes(16)),
    "a longer tag": lambda: mac0(proof=bytes(33)),
    "no tag bytes": lambda: mac0(proof=b""),
}


@pytest.mark.parametrize("what", WELL_FORMED_BUT_NOT_ACCEPTED)
def test_another_form_is_refused(what: str) -> None:
    with pytest.raises(CoseError):
        read_message(WELL_FORMED_BUT_NOT_ACCEPTED[what]())


def test_longer_heads_and_indefinite_lengths_around_signed_parts_are_refused() -> None:
    protected, payload = b"\x43" + protected_of(-7), b"\x47" + PAYLOAD
    proof = cbor2.dumps(signature("ES256", protected_of(-7)))
    assert read_message(b"\xd2\x84" + protected + b"\xa0" + payload + proof)
    for changed in (
        b"\xd8\x12\x84" + protected + b"\xa0" + payload + proof,
        b"\xd2\x98\x04" + protected + b"\xa0" + payload + proof,
        b"\xd2\x9f" + protected + b"\xa0" + payload + proof + b"\xff",
        b"\xd2\x84\x58\x03" + protected[1:] + b"\xa0" + payload + proof,
        b"\xd2\x84\x5f" + protected + b"\xff\xa0" + payload + proof,
        b"\xd2\x84" + protected + b"\xb8\x00" + payload + proof,
        b"\xd2\x84" + protected + b"\xbf\xff" + payload + proof,
        b"\xd2\x84" + protected + b"\xa0\x58\x07" + PAYLOAD + proof,
        b"\xd2\x84" + protected + b"\xa0\x5f" + payload + b"\xff" + proof,
        b"\xd2\x84" + protected + b"\xa0" + payload + b"\x59\x00\x40" + proof[2:],
    ):
        with pytest.raises(CoseError):
            read_message(changed)


@pytest.mark.parametrize("signer", ES)
@pytest.mark.parametrize("named", ES)
def test_each_algorithm_has_its_one_curve(signer: str, named: str) -> None:
    """A P-384 key under ES256, with r and s of a size that ES256 would take."""
    number, _, digest, size = ES[named]
    protected = protected_of(number)
    der = KEYS[signer].sign(cbor2.dumps(["Signature1", protected, b"", PAYLOAD]), ec.ECDSA(digest))
    r, s = (number % (1 << 8 * size) for number in decode_dss_signature(der))
    message = read_sign1(sign1(named, proof=r.to_bytes(size, "big") + s.to_bytes(size, "big")))
    if signer == named:
        verify_sign1(message, spki(KEYS[signer].public_key()))
        return
    with pytest.raises(CoseError, match="curve"):
        verify_sign1(message, spki(KEYS[signer].public_key()))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.BrainpoolP256R1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
    ids=["secp256k1", "brainpoolP256r1", "Ed25519", "RSA"],
)
def test_a_key_of_another_kind_verifies_nothing(key: PublicKeyTypes) -> None:
    with pytest.raises(CoseError, match="curve"):
        verify_sign1(read_sign1(sign1()), spki(key))


@pytest.mark.parametrize("key", [b"", b"\x30\x00", bytes(100)])
def test_what_is_no_key_verifies_nothing(key: bytes) -> None:
    with pytest.raises(CoseError, match="readable"):
        verify_sign1(read_sign1(sign1()), key)


def test_another_key_and_another_context_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(CoseError, match="does not verify"):
        verify_sign1(read_sign1(sign1()), spki(other.public_key()))
    for context in ("Signature", "CounterSignature", "MAC0"):
        proof = signature("ES256", protected_of(-7), context=context)
        with pytest.raises(CoseError, match="does not verify"):
            verify_sign1(read_sign1(sign1(proof=proof)), spki(KEYS["ES256"].public_key()))


def test_r_and_s_out_of_range_are_refused() -> None:
    # With P-521 there is room above n for a second form of the same residue.
    n, size, key = ORDER_P521, 66, spki(KEYS["ES512"].public_key())
    proof = signature("ES512", protected_of(-36))
    r, s = (int.from_bytes(half, "big") for half in (proof[:size], proof[size:]))
    top = (1 << 8 * size) - 1
    for pair in [(0, s), (r, 0), (0, 0), (n, s), (r, n), (n, n), (r + n, s), (r, s + n), (r, top), (top, s)]:
        changed = b"".join(number.to_bytes(size, "big") for number in pair)
        with pytest.raises(CoseError, match="does not verify"):
            verify_sign1(read_sign1(sign1("ES512", proof=changed)), key)
    # The one other signature that there is (see the module), which needs no key to be made.
    twin = r.to_bytes(size, "big") + (n - s).to_bytes(size, "big")
    verify_sign1(read_sign1(sign1("ES512", proof=twin)), key)


def test_the_mac_vector_is_one_under_its_published_key() -> None:
    message = read_message((VECTORS / "psa-mac0.cbor").read_bytes())
    assert isinstance(message, Mac0)
    key = (VECTORS / "tfm-hs-iak.bin").read_bytes()
    assert hmac.digest(key, mac_structure(message), message.algorithm.hash_name) == message.tag


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_domain_error(data: bytes) -> None:
    with pytest.raises(CoseError):
        read_message(data)


@given(st.integers(0, 200), st.binary(max_size=8), st.integers(0, 8))
def test_a_spliced_message_never_verifies(start: int, put: bytes, drop: int) -> None:
    genuine = SPLICED
    start = min(start, len(genuine))
    changed = genuine[:start] + put + genuine[start + drop :]
    if changed == genuine:
        return
    with pytest.raises(CoseError):
        verify_sign1(read_sign1_or_refuse(changed), spki(KEYS["ES256"].public_key()))


def read_sign1_or_refuse(data: bytes) -> Sign1:
    message = read_message(data)
    if isinstance(message, Mac0):
        raise CoseError("a MAC")
    # A key id is not covered: whoever lets one through compares it.
    if message.kid is not None:
        raise CoseError("a key id")
    return message


SPLICED = sign1()
