"""Secrets sealed to keys in tokens (docs/formats.md, "Sealed secrets").

A token that cannot hold a key of some kind can still open what was sealed to a key that it does hold. Each
secret is 32 random bytes, sealed to every recipient by HPKE (RFC 9180) in base mode: an ephemeral key whose
private half nobody keeps, ECDH, HKDF over both points, AES-256-GCM. Opening takes one ECDH of the token.

Guarantees: a file that is read has one spelling, is bounded, and every point in it lies on its curve. HPKE
binds role and origin, so that one secret is not taken for another. It does not say who sealed: whoever has
the public keys can seal another secret. Hence `commitment`, which is kept elsewhere and compared on opening.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET_BYTES = 32
MAX_RECIPIENTS = 8
MAX_FILE = 16_384  # bytes; two secrets to eight P-384 keys have some 6,500
_FORMAT = "birthmark-sealed-v1"
_COMMITMENT = b"birthmark-commitment-v1"
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]{0,127}")
SEALING = "sealing"  # what a token offers, beside roles: to open what is sealed to it
_TAG_BYTES = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32

Secret = bytes | bytearray | memoryview
Exchange = Callable[[bytes], bytes]
"""ECDH of the recipient's private key with an uncompressed point: the shared point's x coordinate."""


class SealingError(ValueError):
    """These are no sealed secrets, or they do not open."""


class KeyRole(StrEnum):
    """What a sealed secret is for."""

    CHECKPOINT = "checkpoint"  # the Ed25519 seed of the log's key (RFC 8032 §5.1.5)
    CHIP_MASTER = "chip-master"  # the HMAC key from which chips' keys follow


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


@dataclass(frozen=True, slots=True)
class Recipient:
    """A token's key that can open: its curve, `p256` or `p384`, and its uncompressed point."""

    curve: str
    point: bytes

    @classmethod
    def of(cls, key: object) -> Recipient:
        """The recipient with this public key. Raises SealingError: no EC key on P-256 or P-384."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            for curve, suite in _SUITES.items():
                if key.curve.name == suite.curve.name:
                    return cls(curve, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        raise SealingError("secrets are sealed to EC keys on P-256 and P-384 alone")

    def key(self) -> ec.EllipticCurvePublicKey:
        """Raises SealingError: the point is not on its curve, or not spelled uncompressed."""
        suite = _SUITES.get(self.curve)
        if suite is None or len(self.point) != suite.point_bytes:
            raise SealingError("a recipient is no point on P-256 or P-384")
        return _on_curve(suite, self.point)

    def spki(self) -> bytes:
        """Its SubjectPublicKeyInfo, DER."""
        return self.key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def spki_sha256(self) -> bytes:
        """How the ledger names it."""
        return hashlib.sha256(self.spki()).digest()


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The file: each secret once for each recipient, in the recipients' order, as HPKE's `enc ‖ ct`."""

    origin: str
    recipients: tuple[Recipient, ...]
    secrets: Mapping[KeyRole, tuple[bytes, ...]]

    def encode(self) -> bytes:
        """The file's bytes."""
        return (
            rfc8785.dumps(
                {
                    "format": _FORMAT,
                    "origin": self.origin,
                    "recipients": [
                        {"curve": recipient.curve, "point": recipient.point.hex()}
                        for recipient in self.recipients
                    ],
                    "secrets": {
                        role.value: [copy.hex() for copy in copies] for role, copies in self.secrets.items()
                    },
                }
            )
            + b"\n"
        )


def seal(origin: str, secrets: Mapping[KeyRole, Secret], recipients: Sequence[Recipient]) -> SealedSecrets:
    """Seals each secret to each recipient.

    Raises:
        SealingError: no or too many recipients, one of them twice or no point, or a secret of another size.
    """
    sealed = SealedSecrets(
        origin,
        tuple(recipients),
        {
            role: tuple(_sealed(origin, role, secret, recipient) for recipient in recipients)
            for role, secret in secrets.items()
        },
    )
    _check(sealed)
    return sealed


def with_recipients(
    sealed: SealedSecrets, secrets: Mapping[KeyRole, Secret], recipients: Sequence[Recipient]
) -> SealedSecrets:
    """The same secrets for another list of recipients; what is sealed to those that stay, stays as it is.

    Raises:
        SealingError: too many or none, one of them twice or no point, or a secret is missing.
    """
    if set(secrets) != set(sealed.secrets):
        raise SealingError("a recipient is given all the secrets, or none")
    before = {recipient: place for place, recipient in enumerate(sealed.recipients)}
    changed = replace(
        sealed,
        recipients=tuple(recipients),
        secrets={
            role: tuple(
                copies[before[recipient]]
                if recipient in before
                else _sealed(sealed.origin, role, secrets[role], recipient)
                for recipient in recipients
            )
            for role, copies in sealed.secrets.items()
        },
    )
    _check(changed)
    return changed


def open_into(
    sealed: SealedSecrets, role: KeyRole, recipient: Recipient, exchange: Exchange, into: memoryview
) -> None:
    """Opens one secret with the recipient's private key, and writes it to `into`, of `SECRET_BYTES`.

    Raises:
        SealingError: it is not sealed to this recipient, was altered, or is of another role or origin.
        Whatever `exchange` raises.
    """
    if recipient not in sealed.recipients or role not in sealed.secrets:
        raise SealingError(f"the {role} secret is not sealed to this key")
    suite = _SUITES[recipient.curve]
    copy = sealed.secrets[role][sealed.recipients.index(recipient)]
    ephemeral, ciphertext = copy[: suite.point_bytes], copy[suite.point_bytes :]
    shared = _decapsulate(suite, exchange(ephemeral), ephemeral + recipient.point)
    key, nonce = _key_schedule(suite, shared, _info(sealed.origin, role))
    try:
        AESGCM(key).decrypt_into(nonce, ciphertext, None, into)
    except InvalidTag as error:
        raise SealingError(f"the {role} secret does not open with this key: the file was altered") from error


def commitment(role: KeyRole, origin: str, secret: Secret) -> bytes:
    """What stands in ledger and configuration for a secret, 32 bytes that tell nothing of it.

    The checkpoint's is the log's public key itself; of any other, a digest that names role and origin.
    """
    if role is KeyRole.CHECKPOINT:
        return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    digest = hashlib.sha256()
    for part in (_COMMITMENT, role.encode(), origin.encode(), secret):
        digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()


def read_sealed(data: bytes) -> SealedSecrets:
    """Reads the file.

    Raises:
        SealingError: it is too large, of another form or spelling, or a point is not on its curve.
    """
    if len(data) > MAX_FILE:
        raise SealingError(f"more than {MAX_FILE} bytes")
    try:
        sealed = _parse(json.loads(data))
        canonical = sealed.encode()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SealingError(f"not {_FORMAT}") from error
    if canonical != data:
        raise SealingError("not in its one spelling (RFC 8785 and a newline)")
    _check(sealed)
    return sealed


def _parse(item: dict[str, object]) -> SealedSecrets:
    match item:
        case {
            "format": "birthmark-sealed-v1",
            "origin": str(origin),
            "recipients": list(recipients),
            "secrets": dict(secrets),
        } if len(item) == 4:
            pass
        case _:
            raise SealingError(f"not {_FORMAT}")
    return SealedSecrets(
        origin,
        tuple(Recipient(str(each["curve"]), bytes.fromhex(each["point"])) for each in recipients),
        {KeyRole(role): tuple(bytes.fromhex(copy) for copy in copies) for role, copies in secrets.items()},
    )


def _check(sealed: SealedSecrets) -> None:
    recipients = sealed.recipients
    if not _ORIGIN.fullmatch(sealed.origin):
        raise SealingError("the origin is not of its form")
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise SealingError(f"secrets are sealed to 1 to {MAX_RECIPIENTS} keys, not {len(recipients)}")
    if len(set(recipients)) != len(recipients):
        raise SealingError("secrets are sealed twice to one key: name another one, or name it once")
    if not sealed.secrets:
        raise SealingError("no secret is sealed")
    for recipient in recipients:
        recipient.key()
    for role, copies in sealed.secrets.items():
        if len(copies) != len(recipients):
            raise SealingError(f"the {role} secret is not sealed to each key")
        for recipient, copy in zip(recipients, copies, strict=True):
            suite = _SUITES[recipient.curve]
            if len(copy) != suite.point_bytes + SECRET_BYTES + _TAG_BYTES:
                raise SealingError(f"a copy of the {role} secret has {len(copy)} bytes")
            _on_curve(suite, copy[: suite.point_bytes])


def _on_curve(suite: _Suite, point: bytes) -> ec.EllipticCurvePublicKey:
    # cryptography refuses the point at infinity, and whatever is not on the curve (SP 800-56A §5.6.2.3).
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(suite.curve, point)
    except ValueError as error:
        raise SealingError("a point is not on its curve") from error


def _info(origin: str, role: KeyRole) -> bytes:
    """HPKE's `info`. No origin holds a newline."""
    return f"{_FORMAT}\n{role}\n{origin}\n".encode()


def _sealed(
    origin: str, role: KeyRole, secret: bytes | bytearray | memoryview, recipient: Recipient
) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise SealingError(f"a secret has {SECRET_BYTES} bytes")
    key = recipient.key()
    return _SUITES[recipient.curve].hpke.encrypt(secret, key, info=_info(origin, role))


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
