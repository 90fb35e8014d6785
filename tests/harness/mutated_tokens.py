"""Mutations of PSA tokens, modems' messages and TPMs' structures, which are signed again afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from boards.attesters import nrf91, psa_token, tpm2
from boards.attesters.certificate_writer import (
    spki_of,
)
from harness.rebuilt import key_of

_KEY_NUMBER = 900


@dataclass(frozen=True, slots=True)
class Made:
    """Evidence, who signed it, and whether it has harmless changes alone."""

    evidence: bytes
    right: bool
    told: str
    key_id: bytes = b""
    attester: bytes = b""


def _ec(kind: str, number: int = 0) -> ec.EllipticCurvePrivateKey:
    key = key_of(kind, _KEY_NUMBER + number)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def bytes_changed(rng: Random, data: bytes) -> bytes:
    """One or two bytes changed, put in or left out."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(found)) if found else 0
        match rng.randrange(4):
            case 0 if found:
                found[at] ^= 1 << rng.randrange(8)
            case 1 if found:
                del found[at]
            case 2 if found:
                found[at] = rng.randrange(256)
            case _:
                found.insert(at, rng.randrange(256))
    return bytes(found)


# PSA tokens.

_PROFILES = (psa_token.RFC_9783, psa_token.PSA_2_0_0, psa_token.PSA_IOT_1)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 12288, 0x30FF, 0x3100, 1 << 31, -(1 << 31), (1 << 31) - 1, 1 << 60),
    *(
        b"",
        b"\x01",
        bytes(8),
        bytes(16),
        bytes(32),
        bytes(33),
        b"\x01" + bytes(32),
        bytes(48),
        bytes(64),
        bytes(65),
    ),
    *(
        "",
        "x",
        "1234567890123-12345",
        "1234567890123",
        "123456789012312345",
        "https://example.com/verify",
        "x" * 3000,
    ),
    *(
        [],
        {},
        [{}],
        [bytes(32)],
        [{2: bytes(32), 5: bytes(32)}],
        [{2: bytes(32)}],
        [{2: bytes(31), 5: bytes(32)}],
    ),
    [{1: "PRoT", 2: bytes(32), 4: "1.0", 5: bytes(32), 6: "sha-256"}],
    [{1: 7, 2: bytes(32), 5: bytes(32)}],
    [{2: bytes(32), 4: b"1", 5: bytes(32)}],
    psa_token.Raw(b"\xf9\x3e\x00"),
)


def psa(rng: Random, transcript: bytes) -> Made:
    """A token of any profile and algorithm."""
    profile, algorithm = rng.choice(_PROFILES), rng.choice(("ES256", "ES256", "ES384", "ES512"))
    key = _ec({"ES256": "p256", "ES384": "p384", "ES512": "p521"}[algorithm])
    right = rng.random() < 0.5
    claims: dict[str | int, object] = {}
    told = [profile, algorithm]
    for _ in range(rng.choice((0, 1, 2))):
        number = rng.choice((-70000, 70000, 12, 300, 2500)) + rng.randrange(5)
        claims[number] = rng.choice(_VALUES)
        told.append(f"unknown claim {number}")
    if profile != psa_token.PSA_IOT_1 and rng.random() < 0.3:
        claims["boot_seed"] = rng.choice((None, bytes(8), bytes(32)))
    if rng.random() < 0.2:
        claims["indicator"] = "https://example.com"
    wrong: dict[str, Any] = {}
    if not right:
        for _ in range(rng.choice((1, 1, 2))):
            claim = rng.choice(sorted(psa_token.KEYS[profile]))
            claims[claim] = rng.choice(_VALUES)
            told.append(f"{claim} {claims[claim]!r:.40}")
        if rng.random() < 0.2:
            wrong["twice"] = rng.choice(("nonce", "lifecycle", "components"))
        if rng.random() < 0.2:
            claims[rng.choice((10, 265, 2395, -75001, -75010, 2397, 268))] = rng.choice(_VALUES)
    wrong["claims_style"] = rng.choice(("shortest", "shortest", "long"))
    wrong["firmware"] = rng.choice(("accepted", "accepted", "replaced", "without app", "one more"))
    attester = psa_token.PsaAttester(
        "psa-0001", algorithm, profile, key, b"", psa_token.Wrong(claims=claims, **wrong)
    )
    evidence = attester.attest(transcript, b"")
    if not right and rng.random() < 0.3:
        told.append("bytes of the message")
        evidence = bytes_changed(rng, evidence)
    return Made(evidence, right, ", ".join(told), attester.instance_id, attester.public_key)


# nRF91.


def modem(rng: Random, transcript: bytes, csr: bytes, uuid: UUID) -> Made:
    """What a modem prints for both commands."""
    key = _ec("p256", 1)
    right = rng.random() < 0.5
    items: list[Any] = [9, uuid.bytes, cbor2.dumps(rng.choice((0, 16842753, -1, 4294967295))),
                        hashlib.sha256(csr).digest(), rng.randbytes(16)]  # fmt: skip
    nonce = hashlib.sha256(transcript).digest()[:16]
    body: list[Any] = [1, uuid.bytes, rng.choice((0, 3, 77, 4294967295)), rng.randbytes(16), nonce]
    told = []
    if not right:
        for _ in range(rng.choice((1, 1, 2))):
            which = rng.choice((items, body))
            at = rng.randrange(len(which))
            odd = (
                b"",
                bytes(16),
                bytes(15),
                bytes(17),
                bytes(32),
                0,
                1,
                8,
                9,
                -1,
                1 << 33,
                True,
                None,
                "x",
                [1],
            )
            which[at] = rng.choice((*odd, cbor2.dumps(1 << 33), cbor2.dumps("x"), b"\x18\x01"))
            told.append(f"{'keygen' if which is items else 'token'} {at}: {which[at]!r:.40}")
    payload, message = nrf91.message(*items), nrf91.message(*body)
    if not right and rng.random() < 0.2:
        payload = bytes_changed(rng, payload)
    if not right and rng.random() < 0.2:
        message = bytes_changed(rng, message)
    texts = []
    for before, own in ((csr, payload), (message, None)):
        aad = before if rng.random() < 0.5 else b""
        detached = message if own is None and not aad else own
        proof = nrf91.sign(key, nrf91.PROTECTED, aad, detached)
        made = nrf91.cose(nrf91.PROTECTED, nrf91.IDENTITY_KEY, own, proof)
        texts.append(f"{nrf91.text(before)}.{nrf91.text(made)}")
    evidence = cbor2.dumps(texts, canonical=True)
    if not right and rng.random() < 0.2:
        told.append("bytes of the evidence")
        evidence = bytes_changed(rng, evidence)
    return Made(evidence, right, ", ".join(told), uuid.bytes, spki_of(key))


# TPM 2.0, with an imported key.

_POLICY = 2 + 2 + 4  # where the size of the policy stands in TPMT_PUBLIC


def tpm(rng: Random, transcript: bytes, csr: bytes) -> Made:
    """TPM2_Certify by an imported AK."""
    right = rng.random() < 0.5
    ak = _ec(rng.choice(("p256", "p384")), 2)
    name_hash: tpm2.HashName = rng.choice(("sha256", "sha384", "sha512"))
    told: list[str] = [name_hash]
    chosen = tpm2.attributes(
        also_set=tuple(each for each in ("stClear", "adminWithPolicy", "noDA") if rng.random() < 0.3)
    )
    if not right and rng.random() < 0.3:
        chosen ^= 1 << rng.randrange(32)
        told.append(f"attributes {chosen:#x}")
    scheme = rng.choice((tpm2.u16(0x0010), tpm2.u16(0x0018) + tpm2.u16(0x000B)))
    public = tpm2.public_area(tpm2.spki_of(csr), chosen, scheme=scheme, name_hash=name_hash)
    if rng.random() < 0.3:  # a policy
        policy = tpm2.sized(bytes(hashlib.new(name_hash).digest_size))
        public = public[:_POLICY] + policy + public[_POLICY + 2 :]
    if not right and rng.random() < 0.3:
        public = bytes_changed(rng, public)
        told.append("bytes of the public area")
    maker = tpm2.Tpm2Attester("TPM-0001", ak, (), "ecdsa", name_hash)
    attest = maker.certify(tpm2.name_of(public, name_hash), hashlib.sha256(transcript).digest())
    if not right and rng.random() < 0.5:
        attest = bytes_changed(rng, attest)
        told.append("bytes of the attest")
    used: tpm2.HashName = rng.choice(("sha256", "sha384", "sha512"))
    if not right and rng.random() < 0.1:
        used = "sha1"
    signature = tpm2.sign(ak, attest, used, "ecdsa")
    if not right and rng.random() < 0.3:
        signature = bytes_changed(rng, signature)
        told.append("bytes of the signature")
    evidence = cbor2.dumps([attest, signature, public, []], canonical=True)
    return Made(evidence, right, ", ".join(told), maker.ak_name(), spki_of(ak))
