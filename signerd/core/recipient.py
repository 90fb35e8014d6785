"""Keys of tokens to which secrets are sealed (docs/formats.md, "Sealed secrets").

    copy = recipient.seal(info, secret)                      # by anybody who has the public key
    recipient.open_into(info, copy, token_key.use, into)     # with one operation of the token

EC keys on P-256 and P-384: HPKE (RFC 9180) in base mode, an ephemeral key whose private half nobody keeps;
the token does one ECDH. RSA keys, for tokens without ECDH: a fresh secret under RSAES-OAEP (RFC 8017 §7.1),
from which HKDF makes the key; the token does one OAEP decryption. Either way AES-256-GCM holds the secret,
and `info`, the token's public key and what was sent to it are bound by HKDF. OAEP's own label stays empty: a
TPM takes only labels that end with a zero, and other tokens take none.
"""

from __future__ import annotations

import hashlib
import secrets as random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

SECRET_BYTES = 32
RSA_BITS = (2048, 3072, 4096)
_RSA_EXPONENT = 65537
_TAG_BYTES = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32

Secret = bytes | bytearray | memoryview
PrivateKeyUse = Callable[[bytes], bytes]
"""The one operation of a recipient's private key. EC: ECDH with an uncompressed point, the shared point's x
coordinate. RSA: OAEP decryption with SHA-256, MGF1 with SHA-256 and no label."""


class SealingError(ValueError):
    """These are no sealed secrets, or they do not open."""


class Recipient(ABC):
    """A token's key that can open. Two are equal if their keys are."""

    @staticmethod
    def of(key: object) -> Recipient:
        """The recipient with this public key. Raises SealingError: nothing is sealed to keys of this kind."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            for curve, suite in _SUITES.items():
                if key.curve.name == suite.curve.name:
                    return EcRecipient(curve, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        if isinstance(key, rsa.RSAPublicKey):
            found = RsaRecipient(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
            found.key()
            return found
        raise SealingError(
            "secrets are sealed to EC keys on P-256 and P-384, and to RSA keys of 2048, 3072 and 4096 bits"
        )

    @staticmethod
    def parse(item: Mapping[str, str]) -> Recipient:
        """What `item` gave. Raises SealingError, KeyError, ValueError: it is none."""
        if set(item) == {"rsa"}:
            return RsaRecipient(bytes.fromhex(item["rsa"]))
        return EcRecipient(str(item["curve"]), bytes.fromhex(item["point"]))

    @property
    @abstractmethod
    def kind(self) -> str:
        """`p256`, `p384`, or `rsa` and its bits."""

    @abstractmethod
    def key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """Raises SealingError: it is no key of its kind, or not in its one spelling."""

    @abstractmethod
    def item(self) -> dict[str, str]:
        """As the file has it."""

    @abstractmethod
    def seal(self, info: bytes, secret: Secret) -> bytes:
        """A copy of the secret, of `SECRET_BYTES`, that opens for this key and this `info` alone."""

    @abstractmethod
    def check(self, copy: bytes) -> None:
        """Raises SealingError: it is no copy of a secret for this key."""

    @abstractmethod
    def open_into(self, info: bytes, copy: bytes, use: PrivateKeyUse, into: memoryview) -> None:
        """Writes the secret to `into`. Raises InvalidTag: it does not open; and whatever `use` raises."""

    def spki(self) -> bytes:
        """Its SubjectPublicKeyInfo, DER."""
        return self.key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def spki_sha256(self) -> bytes:
        """How the ledger names it."""
        return hashlib.sha256(self.spki()).digest()


@dataclass(frozen=True, slots=True)
class EcRecipient(Recipient):
    """An EC key: its curve, `p256` or `p384`, and its uncompressed point."""

    curve: str
    point: bytes

    @property
    def kind(self) -> str:
        """Its curve."""
        return self.curve

    def key(self) -> ec.EllipticCurvePublicKey:
        """On its curve."""
        suite = _SUITES.get(self.curve)
        if suite is None or len(self.point) != suite.point_bytes:
            raise SealingError("a recipient is no point on P-256 or P-384")
        return _on_curve(suite, self.point)

    def item(self) -> dict[str, str]:
        """As the file has it."""
        return {"curve": self.curve, "point": self.point.hex()}

    def seal(self, info: bytes, secret: Secret) -> bytes:
        """HPKE's `enc ‖ ct`."""
        return _SUITES[self.curve].hpke.encrypt(secret, self.key(), info=info)

    def check(self, copy: bytes) -> None:
        """Of its size, and `enc` on the curve."""
        suite = _SUITES[self.curve]
        _demand_bytes(copy, suite.point_bytes)
        _on_curve(suite, copy[: suite.point_bytes])

    def open_into(self, info: bytes, copy: bytes, use: PrivateKeyUse, into: memoryview) -> None:
        """By one ECDH."""
        suite = _SUITES[self.curve]
        ephemeral, ciphertext = copy[: suite.point_bytes], copy[suite.point_bytes :]
        shared = _decapsulate(suite, use(ephemeral), ephemeral + self.point)
        key, nonce = _key_schedule(suite, shared, info)
        AESGCM(key).decrypt_into(nonce, ciphertext, None, into)


@dataclass(frozen=True, slots=True)
class RsaRecipient(Recipient):
    """An RSA key: its SubjectPublicKeyInfo, DER."""

    info: bytes

    @property
    def kind(self) -> str:
        """`rsa2048`, for example."""
        return f"rsa{self.key().key_size}"

    def key(self) -> rsa.RSAPublicKey:
        """Of one of the sizes."""
        try:
            key = load_der_public_key(self.info)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SealingError("a recipient is no RSA key") from error
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in RSA_BITS:
            raise SealingError("a recipient is no RSA key of 2048, 3072 or 4096 bits")
        if key.public_numbers().e != _RSA_EXPONENT:
            raise SealingError(f"an RSA key's exponent is not {_RSA_EXPONENT}")
        if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != self.info:
            raise SealingError("an RSA key is not in its one spelling")
        return key

    def item(self) -> dict[str, str]:
        """As the file has it."""
        return {"rsa": self.info.hex()}

    def seal(self, info: bytes, secret: Secret) -> bytes:
        """OAEP's ciphertext, then that of the secret."""
        shared = random.token_bytes(SECRET_BYTES)
        sent = self.key().encrypt(shared, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
        key, nonce = self._keys(info, sent, shared)
        return sent + AESGCM(key).encrypt(nonce, secret, None)

    def check(self, copy: bytes) -> None:
        """Of its size."""
        _demand_bytes(copy, self.key().key_size // 8)

    def open_into(self, info: bytes, copy: bytes, use: PrivateKeyUse, into: memoryview) -> None:
        """By one OAEP decryption."""
        size = self.key().key_size // 8
        sent, ciphertext = copy[:size], copy[size:]
        key, nonce = self._keys(info, sent, use(sent))
        AESGCM(key).decrypt_into(nonce, ciphertext, None, into)

    def _keys(self, info: bytes, sent: bytes, shared: bytes) -> tuple[bytes, bytes]:
        bound = info + hashlib.sha256(self.info).digest() + hashlib.sha256(sent).digest()
        made = HKDF(hashes.SHA256(), _KEY_BYTES + _NONCE_BYTES, None, bound).derive(shared)
        return made[:_KEY_BYTES], made[_KEY_BYTES:]


def _demand_bytes(copy: bytes, sent: int) -> None:
    if len(copy) != sent + SECRET_BYTES + _TAG_BYTES:
        raise SealingError(f"a copy of a secret has {len(copy)} bytes")


@dataclass(frozen=True, slots=True)
class _Suite:
    """DHKEM over one curve with the hash of RFC 9180 §7.1, the same hash for HKDF, AES-256-GCM."""

    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm
    kem: hpke.KEM
    kdf: hpke.KDF
    kem_id: int
    kdf_id: int
    point_bytes: int

    @property
    def hpke(self) -> hpke.Suite:
        return hpke.Suite(self.kem, self.kdf, hpke.AEAD.AES_256_GCM)


_SUITES = {
    "p256": _Suite(ec.SECP256R1(), hashes.SHA256(), hpke.KEM.P256, hpke.KDF.HKDF_SHA256, 0x0010, 0x0001, 65),
    "p384": _Suite(ec.SECP384R1(), hashes.SHA384(), hpke.KEM.P384, hpke.KDF.HKDF_SHA384, 0x0011, 0x0002, 97),
}
_AEAD_ID = 0x0002  # AES-256-GCM


def _on_curve(suite: _Suite, point: bytes) -> ec.EllipticCurvePublicKey:
    # cryptography refuses the point at infinity, and whatever is not on the curve (SP 800-56A §5.6.2.3).
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(suite.curve, point)
    except ValueError as error:
        raise SealingError("a point is not on its curve") from error


# RFC 9180's receiver, for a private key that is in a token: cryptography's own takes key objects alone.


def _labeled_extract(suite: _Suite, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """§4."""
    return HKDF.extract(suite.hash, salt, b"HPKE-v1" + suite_id + label + ikm)


def _labeled_expand(
    suite: _Suite, suite_id: bytes, key: bytes, label: bytes, info: bytes, length: int
) -> bytes:
    """§4."""
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    return HKDFExpand(suite.hash, length, labeled).derive(key)


def _decapsulate(suite: _Suite, exchanged: bytes, kem_context: bytes) -> bytes:
    """§4.1, `Decap` after its `DH`."""
    suite_id = b"KEM" + suite.kem_id.to_bytes(2, "big")
    key = _labeled_extract(suite, suite_id, b"", b"eae_prk", exchanged)
    return _labeled_expand(suite, suite_id, key, b"shared_secret", kem_context, suite.hash.digest_size)


def _key_schedule(suite: _Suite, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """§5.1 in base mode: key and nonce of the first and only message."""
    suite_id = b"HPKE" + b"".join(
        number.to_bytes(2, "big") for number in (suite.kem_id, suite.kdf_id, _AEAD_ID)
    )
    context = (
        b"\0"
        + _labeled_extract(suite, suite_id, b"", b"psk_id_hash", b"")
        + _labeled_extract(suite, suite_id, b"", b"info_hash", info)
    )
    secret = _labeled_extract(suite, suite_id, shared, b"secret", b"")
    return (
        _labeled_expand(suite, suite_id, secret, b"key", context, _KEY_BYTES),
        _labeled_expand(suite, suite_id, secret, b"base_nonce", context, _NONCE_BYTES),
    )
