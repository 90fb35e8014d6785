"""Method `nrf91`: modems that print `AT%KEYGEN` and `AT%ATTESTTOKEN` (docs/formats.md; Nordic's AT commands).

The chip id is the device UUID in its usual text form. What is signed was read from a real modem's output
(tests/vectors/nrf91): `["Signature1", protected, external_aad, payload]`, where `external_aad` is the bytes
before the dot, or empty.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

COMPONENT = "modem"
VERSION = "1.3.6"
FIRMWARE = UUID("f7af8b5c-d0ae-43a5-8d76-4db7ed6f6d07")

SELF_DESCRIBED = bytes.fromhex("d9d9f7")  # CBOR tag 55799
PROTECTED = bytes.fromhex("a10126")  # alg: ES256
IDENTITY_KEY = b"\x21"  # kid: -2
CSR_MESSAGE, PUBLIC_KEY_MESSAGE, IDENTITY_MESSAGE = 9, 8, 1

# What the signature covers beside its own message: the bytes before the dot (seen on an nRF9160), or nothing.
Context = Literal["bytes", "empty"]
Base64 = Literal["canonical", "padded", "standard", "trailing bits", "newline"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a modem's answers; as it stands, nothing is."""

    keygen_uuid: UUID | None = None
    token_uuid: UUID | None = None
    keygen_type: int = CSR_MESSAGE
    token_type: int = IDENTITY_MESSAGE
    nonce: bytes | None = None  # of the attestation token
    csr: bytes | None = None  # the one whose digest is signed
    keygen_key: ec.EllipticCurvePrivateKey | None = None
    token_key: ec.EllipticCurvePrivateKey | None = None
    keygen_context: bytes | None = None  # the external_aad itself
    token_context: bytes | None = None
    kid: bytes = IDENTITY_KEY
    protected: bytes = PROTECTED
    swapped: bool = False  # the two texts change places
    encoding: Base64 = "canonical"  # of the first text's CSR
    firmware: UUID = FIRMWARE
    detached_null: bool | None = None  # the token's signature covers null in the payload's place


def text(data: bytes, encoding: Base64 = "canonical") -> str:
    """Base64url without padding, RFC 4648 section 5; or not quite."""
    plain = base64.urlsafe_b64encode(data).decode()
    bare = plain.rstrip("=")
    match encoding:
        case "canonical":
            return bare
        case "padded":
            return plain
        case "standard":
            return base64.b64encode(data).decode().rstrip("=")
        case "newline":
            return bare + "\n"
        case "trailing bits":
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            if len(data) % 3 == 0:
                raise ValueError("this length leaves no bits over")
            return bare[:-1] + alphabet[alphabet.index(bare[-1]) + 1]


def message(*items: object) -> bytes:
    return SELF_DESCRIBED + cbor2.dumps(list(items), canonical=True)


def sign(key: ec.EllipticCurvePrivateKey, protected: bytes, aad: bytes, payload: bytes | None) -> bytes:
    """r || s over the Sig_structure of RFC 9052 section 4.4, with null where a payload is null."""
    signed = cbor2.dumps(["Signature1", protected, aad, payload], canonical=True)
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def cose(protected: bytes, kid: bytes, payload: bytes | None, signature: bytes) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {4: kid}, payload, signature]), canonical=True)


@dataclass(frozen=True, slots=True)
class Nrf91Attester:
    """One modem and its identity key."""

    uuid: UUID
    key: ec.EllipticCurvePrivateKey
    context: Context = "bytes"
    wrong: Wrong = Wrong()
    sec_tag: int = 16842753

    @property
    def method(self) -> str:
        return "nrf91"

    def attest(self, transcript: bytes, csr: bytes) -> bytes:
        nonce = hashlib.sha256(transcript).digest()[:16] if self.wrong.nonce is None else self.wrong.nonce
        answers = [self.keygen(csr), self.attesttoken(nonce)]
        return cbor2.dumps(answers[::-1] if self.wrong.swapped else answers, canonical=True)

    def keygen(self, csr: bytes) -> str:
        """`AT%KEYGEN=<sec_tag>,2,0`, for a key and CSR that the board made."""
        wrong = self.wrong
        payload = message(
            wrong.keygen_type,
            (wrong.keygen_uuid or self.uuid).bytes,
            cbor2.dumps(self.sec_tag),
            hashlib.sha256(wrong.csr or csr).digest(),
            secrets.token_bytes(16),
        )
        aad = csr if self.context == "bytes" else b""
        aad = aad if wrong.keygen_context is None else wrong.keygen_context
        signature = sign(wrong.keygen_key or self.key, wrong.protected, aad, payload)
        return f"{text(csr, wrong.encoding)}.{text(cose(wrong.protected, wrong.kid, payload, signature))}"

    def attesttoken(self, nonce: bytes) -> str:
        """`AT%ATTESTTOKEN="<nonce>"`."""
        wrong = self.wrong
        body = message(
            wrong.token_type, (wrong.token_uuid or self.uuid).bytes, 3, wrong.firmware.bytes, nonce
        )
        aad = body if self.context == "bytes" else b""
        aad = aad if wrong.token_context is None else wrong.token_context
        null = self.context == "bytes" if wrong.detached_null is None else wrong.detached_null
        signature = sign(wrong.token_key or self.key, wrong.protected, aad, None if null else body)
        return f"{text(body)}.{text(cose(wrong.protected, wrong.kid, None, signature))}"

    def identity(self) -> dict[str, str]:
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {"chip_id": str(self.uuid), "key_id": self.uuid.hex, "public_key": public.decode()}


class Nrf91Vendor:
    """Modems by UUID, and the one firmware that the company accepts in them."""

    def __init__(self) -> None:
        self._keys: dict[UUID, ec.EllipticCurvePrivateKey] = {}

    def product_section(self) -> str:
        entry = f'{{ component = "{COMPONENT}", version = "{VERSION}", digest = "{FIRMWARE.hex}" }}'
        return f"[evidence.nrf91]\nmeasurements = [{entry}]\n"

    def attester(
        self, chip_id: str, *, context: Context = "bytes", wrong: Wrong | None = None
    ) -> Nrf91Attester:
        """A modem; `chip_id` is its UUID."""
        uuid = UUID(chip_id)
        key = self._keys.setdefault(uuid, ec.generate_private_key(ec.SECP256R1()))
        return Nrf91Attester(uuid, key, context, wrong or Wrong())
