"""A key holder on a YubiKey in software: the sub-CA's key is in a slot, all other keys are sealed to 9d."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from harness.process import run
from harness.software_key_holder import ORIGIN
from signerd.adapters import device_ca
from signerd.adapters.keyholder.certification_request import make_request
from signerd.adapters.keyholder.client import KeyHolderSettings
from signerd.adapters.keyholder.protocol import Mode, Setup
from signerd.core.chip_key import derive_chip_key
from signerd.core.issuer_algorithm import IssuerKey, issuer_key
from signerd.core.names import MacKey, Place
from signerd.core.note import VerifierKey
from signerd.core.recipient import SECRET_BYTES, Recipient
from signerd.core.sealing import KeyRole, commitment, seal
from tokens.yubikey import VirtualYubiKey

SEALING_SLOT = "9d"
# ykcs11's labels of private keys.
_LABELS = {
    "9a": "Private key for PIV Authentication",
    "9c": "Private key for Digital Signature",
    SEALING_SLOT: "Private key for Key Management",
    "82": "Private key for Retired Key 1",
}
_IDS = {"9a": "01", "9c": "02", "82": "05"}


@dataclass(frozen=True, slots=True)
class YubiKeyAtHand:
    """What a daemon would know of it, and the master key, which it would not."""

    settings: KeyHolderSettings
    pin: bytes
    sub_ca: x509.Certificate
    log: VerifierKey
    master_key: bytes

    def chip_key(self, chip_id: str, key: MacKey, hash_name: str) -> bytes:
        """As a personalization would get it."""

        def mac(message: bytes) -> bytes:
            return hmac.digest(self.master_key, message, "sha256")

        return derive_chip_key(mac, chip_id, key, hash_name)


def at_hand(key: VirtualYubiKey, slot: str) -> YubiKeyAtHand:
    """With the key in `slot`, which is there, as is the one in 9d."""
    kept = {role: secrets.token_bytes(SECRET_BYTES) for role in (KeyRole.CHECKPOINT, KeyRole.CHIP_MASTER)}
    recipient = Recipient.of(load_pem_public_key((key.directory / f"{SEALING_SLOT}.pem").read_bytes()))
    log = VerifierKey(ORIGIN, commitment(KeyRole.CHECKPOINT, ORIGIN, kept[KeyRole.CHECKPOINT]))
    sub_ca = _sub_ca(key, slot)
    setup = Setup(
        mode=Mode.SERVE,
        module=key.module,
        token=key.label(),
        ca_key=_LABELS[slot],
        checkpoint_key="",
        master_key="",
        sealing_key=_LABELS[SEALING_SLOT],
        checkpoint_key_in=Place.SEALED,
        master_key_in=Place.SEALED,
        sealed=seal(ORIGIN, kept, [recipient]).encode(),
        master_commitment=commitment(KeyRole.CHIP_MASTER, ORIGIN, kept[KeyRole.CHIP_MASTER]),
        certificate=sub_ca.public_bytes(Encoding.DER),
        vkey=log.text(),
        max_validity_days=10_950,
        allow_no_expiry=True,
        pin=b"",
    )
    settings = KeyHolderSettings(setup, deadline_s=10, start_deadline_s=30, environment=key.environment)
    return YubiKeyAtHand(settings, key.pin.encode(), sub_ca, log, kept[KeyRole.CHIP_MASTER])


def _sub_ca(key: VirtualYubiKey, slot: str) -> x509.Certificate:
    """Under a root of its own. OpenSC signs the request: with OpenSSL 3, yubico-piv-tool 2.2 fails to."""
    now = datetime.now(UTC).replace(microsecond=0)
    root, root_key = device_ca.create_root("test", now)
    public = _public(key, slot)

    def sign(message: bytes) -> bytes:
        digest, signature = key.directory / "digest", key.directory / "signature"
        is_rsa = isinstance(public, rsa.RSAPublicKey)
        digest.write_bytes(message if is_rsa else hashlib.sha256(message).digest())
        command = [
            "pkcs11-tool",
            "--module",
            key.module,
            "--token-label",
            key.label(),
            "--login",
            "--pin",
            key.pin,
        ]
        how = ["SHA256-RSA-PKCS"] if is_rsa else ["ECDSA", "--signature-format", "openssl"]
        command += ["--sign", "--id", _IDS[slot], "--mechanism", *how]
        command += ["--input-file", str(digest), "--output-file", str(signature)]
        run(command, environment={**os.environ, **key.environment})
        return signature.read_bytes()

    request = make_request(device_ca.sub_ca_common_name("test"), public, sign)
    return device_ca.sign_sub_ca(x509.load_der_x509_csr(request), root, root_key, now)


def _public(key: VirtualYubiKey, slot: str) -> IssuerKey:
    return issuer_key(load_pem_public_key((key.directory / f"{slot}.pem").read_bytes()))[0]
