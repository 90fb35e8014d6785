"""Method `psa-token`: chips whose secure world answers psa_initial_attest_get_token (RFC 9783, TF-M).

Written from the RFC and, for the two older profiles, from draft-tschofenig-rats-psa-token-07 and -09. The
encoder is the module's own, since a wrong token needs CBOR that a library does not write.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from boards.attesters.port import COMPONENT, VERSION

RFC_9783 = "tag:psacertified.org,2023:psa#tfm"
PSA_2_0_0 = "http://arm.com/psa/2.0.0"
PSA_IOT_1 = "PSA_IOT_PROFILE_1"

# Claim -> key, by profile (RFC 9783 section 4.6; the boot seed of 2.0.0 as TF-M writes it).
_CURRENT = {
    "profile": 265,
    "client_id": 2394,
    "lifecycle": 2395,
    "implementation_id": 2396,
    "boot_seed": 268,
    "certification": 2398,
    "components": 2399,
    "nonce": 10,
    "instance_id": 256,
    "indicator": 2400,
}
KEYS: Mapping[str, Mapping[str, int]] = {
    RFC_9783: _CURRENT,
    PSA_2_0_0: _CURRENT | {"boot_seed": 2397},
    PSA_IOT_1: {
        "profile": -75000,
        "client_id": -75001,
        "lifecycle": -75002,
        "implementation_id": -75003,
        "boot_seed": -75004,
        "certification": -75005,
        "components": -75006,
        "no_measurements": -75007,
        "nonce": -75008,
        "instance_id": -75009,
        "indicator": -75010,
    },
}
LIFECYCLES = {
    "unknown": 0x0000,
    "assembly and test": 0x1000,
    "provisioning": 0x2000,
    "secured": 0x3000,
    "non-psa-rot debug": 0x4000,
    "recoverable psa-rot debug": 0x5000,
    "decommissioned": 0x6000,
}
# Algorithm -> COSE's number (RFC 9053 sections 2.1 and 3.1).
NUMBERS = {"ES256": -7, "ES384": -35, "ES512": -36, "HMAC256": 5, "HMAC384": 6, "HMAC512": 7}
CURVES: Mapping[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": (ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": (ec.SECP384R1(), hashes.SHA384(), 48),
    "ES512": (ec.SECP521R1(), hashes.SHA512(), 66),
}
HMAC_HASHES = {"HMAC256": "sha256", "HMAC384": "sha384", "HMAC512": "sha512"}
SIGN1_TAG, MAC0_TAG = 18, 17

IMPLEMENTATION_ID = hashlib.sha256(b"implementation").digest()
SIGNER = hashlib.sha256(b"the company's firmware key").digest()
OTHER = hashlib.sha256(b"someone else's").digest()
# Component -> version, measurement type, digest: what the boot loader finds on a board as it should be.
FIRMWARE = {
    "spe": ("2.1.0", "PRoT", hashlib.sha256(b"spe").digest()),
    COMPONENT: (VERSION, "App", hashlib.sha256(COMPONENT.encode()).digest()),
}

Style = Literal["shortest", "long", "indefinite"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """A map with its entries in this order, also twice the same key."""

    entries: Sequence[tuple[object, object]]


@dataclass(frozen=True, slots=True)
class Raw:
    """CBOR as it stands."""

    data: bytes


def encode(item: object, style: Style = "shortest") -> bytes:
    """CBOR: `long` writes each head with eight bytes, `indefinite` leaves lengths open."""
    match item:
        case Raw():
            encoded = item.data
        case None | bool():
            encoded = {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[item]
        case int():
            encoded = _head(0, item, style) if item >= 0 else _head(1, -1 - item, style)
        case bytes():
            encoded = _string(2, item, style)
        case str():
            encoded = _string(3, item.encode(), style)
        case list() | tuple():
            encoded = _container(4, len(item), b"".join(encode(one, style) for one in item), style)
        case dict():
            encoded = encode(Pairs(tuple(item.items())), style)
        case Pairs():
            body = b"".join(encode(key, style) + encode(value, style) for key, value in item.entries)
            encoded = _container(5, len(item.entries), body, style)
        case _:
            raise TypeError(type(item))
    return encoded


def _head(major: int, argument: int, style: Style) -> bytes:
    if style == "long":
        return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def _string(major: int, data: bytes, style: Style) -> bytes:
    if style == "indefinite":
        return bytes([major << 5 | 31]) + _head(major, len(data), style) + data + b"\xff"
    return _head(major, len(data), style) + data


def _container(major: int, size: int, body: bytes, style: Style) -> bytes:
    if style == "indefinite":
        return bytes([major << 5 | 31]) + body + b"\xff"
    return _head(major, size, style) + body


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a chip or its tokens; as it stands, nothing is."""

    lifecycle: str | int = "secured"
    firmware: Literal["accepted", "replaced", "without app", "one more", "unmeasured"] = "accepted"
    signer: bytes | None = SIGNER  # of each component
    implementation_id: bytes = IMPLEMENTATION_ID
    instance_id: bytes | None = None
    nonce: Literal["own", "truncated", "other", "array", "transcript"] | bytes = "own"
    # By name of `KEYS` or by number; None leaves the claim out.
    claims: Mapping[str | int, object] = field(default_factory=dict)
    twice: str = ""  # a claim that appears twice, first with a wrong value
    claims_style: Style = "shortest"

    key: Literal["own", "other", "public"] = "own"  # public: HMAC under the SubjectPublicKeyInfo
    named_algorithm: int | str | None = None  # in the protected header, in place of the one that is used
    protected: Mapping[int, object] = field(default_factory=dict)  # further protected parameters
    protected_raw: bytes | None = None
    unprotected: Mapping[int, object] = field(default_factory=dict)
    tag: int | None = None  # 0 leaves it out
    proof: Literal["own", "empty", "truncated", "der", "zero", "longer"] = "own"
    detached: bool = False  # the payload is signed, and left out
    signs_nil: bool = False  # nil stands in the payload's place, and is signed
    envelope_style: Style = "shortest"
    trailing: bytes = b""


@dataclass(frozen=True, slots=True)
class PsaAttester:
    """One chip's secure world with its initial attestation key."""

    chip_id: str
    algorithm: str
    profile: str
    signing_key: ec.EllipticCurvePrivateKey | None  # ES
    secret: bytes  # HMAC
    wrong: Wrong = Wrong()

    @property
    def method(self) -> str:
        return "psa-token"

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER; empty for a symmetric key."""
        if self.signing_key is None:
            return b""
        return self.signing_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def instance_id(self) -> bytes:
        """UEID of type RAND, from the key as the PSA Attestation API proposes."""
        if self.signing_key is None:
            return b"\x01" + hashlib.sha256(hashlib.sha256(self.secret).digest()).digest()
        point = self.signing_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return b"\x01" + hashlib.sha256(point).digest()

    def identity(self) -> dict[str, str] | None:
        if self.signing_key is None:
            return None
        public = self.signing_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {"chip_id": self.chip_id, "key_id": self.instance_id.hex(), "public_key": public.decode()}

    def attest(self, transcript: bytes, csr: bytes) -> bytes:  # noqa: ARG002 (the port)
        return self.token(encode(Pairs(self._claims(transcript)), self.wrong.claims_style))

    def token(self, claims: bytes) -> bytes:
        """A token over these very bytes."""
        wrong = self.wrong
        named = NUMBERS[self.algorithm] if wrong.named_algorithm is None else wrong.named_algorithm
        protected = encode(Pairs(((1, named), *wrong.protected.items())))
        protected = protected if wrong.protected_raw is None else wrong.protected_raw
        symmetric = self.signing_key is None or wrong.key == "public"
        context = "MAC0" if symmetric else "Signature1"
        signed = encode([context, protected, b"", None if wrong.signs_nil else claims])
        proof = self._mac(signed) if symmetric else self._sign(signed)
        payload = None if wrong.detached or wrong.signs_nil else claims
        message = encode([protected, dict(wrong.unprotected), payload, proof], wrong.envelope_style)
        tag = (MAC0_TAG if symmetric else SIGN1_TAG) if wrong.tag is None else wrong.tag
        head = _head(6, tag, "long" if wrong.envelope_style == "long" else "shortest") if tag else b""
        return head + message + wrong.trailing

    def _claims(self, transcript: bytes) -> list[tuple[object, object]]:
        wrong, keys = self.wrong, KEYS[self.profile]
        life = wrong.lifecycle
        values: dict[str, object] = {
            "nonce": self._nonce(transcript),
            "instance_id": wrong.instance_id or self.instance_id,
            "profile": self.profile,
            "client_id": -1,
            "lifecycle": LIFECYCLES[life] if isinstance(life, str) else life,
            "implementation_id": wrong.implementation_id,
            "boot_seed": hashlib.sha256(b"boot").digest(),
            "components": self._components(),
        }
        if wrong.firmware == "unmeasured":
            del values["components"]
            values["no_measurements"] = 1
        claims: dict[object, object] = {keys[name]: value for name, value in values.items()}
        for name, value in wrong.claims.items():
            claims[keys[name] if isinstance(name, str) else name] = value
        entries = [(key, value) for key, value in claims.items() if value is not None]
        return [(keys[wrong.twice], b""), *entries] if wrong.twice else entries

    def _nonce(self, transcript: bytes) -> object:
        right = hashlib.sha256(transcript).digest()
        match self.wrong.nonce:
            case bytes(chosen):
                return chosen
            case "truncated":
                return right[:-1]
            case "other":
                return hashlib.sha256(transcript + b"\x00").digest()
            case "array":
                return [right]
            case "transcript":
                return transcript
            case _:
                return right

    def _components(self) -> list[dict[int, object]]:
        wrong = self.wrong
        found = dict(FIRMWARE)
        if wrong.firmware == "replaced":
            version, role, _ = found[COMPONENT]
            found[COMPONENT] = (version, role, hashlib.sha256(b"replaced").digest())
        if wrong.firmware == "without app":
            del found[COMPONENT]
        if wrong.firmware == "one more":
            found["more"] = ("1.0.0", "ARoT", hashlib.sha256(b"more").digest())
        components: list[dict[int, object]] = []
        for version, role, digest in found.values():
            component: dict[int, object] = {1: role, 2: digest, 4: version, 6: "sha-256"}
            components.append(component if wrong.signer is None else component | {5: wrong.signer})
        return components

    def _sign(self, message: bytes) -> bytes:
        curve, digest, size = CURVES[self.algorithm]
        key = self.signing_key if self.wrong.key == "own" else ec.generate_private_key(curve)
        if key is None:
            raise ValueError("a symmetric key signs nothing")
        der = key.sign(message, ec.ECDSA(digest))
        r, s = decode_dss_signature(der)
        proof = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return der if self.wrong.proof == "der" else self._shaped(proof)

    def _mac(self, message: bytes) -> bytes:
        secret, hash_name = self.secret, HMAC_HASHES.get(self.algorithm, "sha256")
        if self.wrong.key == "public":
            secret = self.public_key
        elif self.wrong.key == "other":
            secret = hashlib.sha512(b"guessed").digest()
        return self._shaped(hmac.digest(secret, message, hash_name))

    def _shaped(self, proof: bytes) -> bytes:
        match self.wrong.proof:
            case "empty":
                return b""
            case "truncated":
                return proof[:-1]
            case "longer":
                return proof + b"\x00"
            case "zero":
                return bytes(len(proof))
            case _:
                return proof


class PsaVendor:
    """Chips of one profile and algorithm, and the firmware that the company accepts on them.

    With `HMAC256`, `HMAC384` or `HMAC512` a trusted site burned `secrets`, by chip id.
    """

    def __init__(
        self,
        *,
        profile: str = RFC_9783,
        algorithm: str = "ES256",
        secrets: Mapping[str, bytes] | None = None,
    ) -> None:
        self._profile = profile
        self._algorithm = algorithm
        self._secrets = secrets or {}
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def product_section(self) -> str:
        entries = ", ".join(
            f'{{ component = "{name}", version = "{version}", digest = "{digest.hex()}", '
            f'signer = "{SIGNER.hex()}" }}'
            for name, (version, _, digest) in FIRMWARE.items()
        )
        return (
            f'[evidence.psa-token]\nimplementation_ids = ["{IMPLEMENTATION_ID.hex()}"]\n'
            f"measurements = [{entries}]\n"
        )

    def attester(self, chip_id: str, **wrong: Any) -> PsaAttester:
        """A chip; `wrong`: fields of `Wrong`."""
        key = None
        if self._algorithm in CURVES:
            key = self._keys.get(chip_id) or ec.generate_private_key(CURVES[self._algorithm][0])
            self._keys[chip_id] = key
        secret = b"" if key is not None else self._secrets[chip_id]
        return PsaAttester(chip_id, self._algorithm, self._profile, key, secret, replace(Wrong(), **wrong))
