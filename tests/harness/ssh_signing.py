"""Administrators' keys without OpenSSH: keys in files and in security keys, and what they sign.

    ann = SshSigner.ed25519()
    signature = ann.sign(text, "birthmark-approval-v1@acme")      # armored

Built from PROTOCOL.sshsig and PROTOCOL.u2f alone, and shown to the genuine `ssh-keygen -Y verify` by
tests/integration/signerd/test_ssh_keygen.py.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PRESENT, VERIFIED = 0x01, 0x04


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def armor(blob: bytes) -> bytes:
    encoded = base64.b64encode(blob).decode()
    lines = [encoded[start : start + 70] for start in range(0, len(encoded), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


@dataclass(frozen=True)
class SshSigner:
    """One key. `raw` signs bytes in the key's own form."""

    algorithm: str
    public: bytes  # wire form
    raw: Callable[[bytes], bytes]
    signs_as: str = ""  # where it is another name than the key's
    application: str = ""
    flags: int = PRESENT | VERIFIED
    counter: int = 7

    @classmethod
    def ed25519(cls) -> SshSigner:
        key = ed25519.Ed25519PrivateKey.generate()
        return cls("ssh-ed25519", string(b"ssh-ed25519") + string(_raw_public(key)), key.sign)

    @classmethod
    def sk_ed25519(cls, application: str = "ssh:") -> SshSigner:
        key = ed25519.Ed25519PrivateKey.generate()
        name = "sk-ssh-ed25519@openssh.com"
        public = string(name.encode()) + string(_raw_public(key)) + string(application.encode())
        return cls(name, public, key.sign, application=application)

    @classmethod
    def ecdsa(cls, curve: ec.EllipticCurve | None = None) -> SshSigner:
        key = ec.generate_private_key(curve or ec.SECP256R1())
        size = key.curve.key_size
        name = f"ecdsa-sha2-nistp{size}"
        public = string(name.encode()) + string(f"nistp{size}".encode()) + string(_point(key))
        return cls(name, public, _ecdsa(key))

    @classmethod
    def sk_ecdsa(cls, application: str = "ssh:") -> SshSigner:
        key = ec.generate_private_key(ec.SECP256R1())
        name = "sk-ecdsa-sha2-nistp256@openssh.com"
        public = b"".join(map(string, (name.encode(), b"nistp256", _point(key), application.encode())))
        return cls(name, public, _ecdsa(key), application=application)

    @classmethod
    def rsa(cls, bits: int = 2048, algorithm: hashes.HashAlgorithm | None = None) -> SshSigner:
        key = rsa.generate_private_key(65537, bits)
        chosen = algorithm or hashes.SHA512()
        numbers = key.public_key().public_numbers()
        public = string(b"ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)
        names = {"sha1": "ssh-rsa", "sha256": "rsa-sha2-256", "sha512": "rsa-sha2-512"}
        return cls(
            "ssh-rsa",
            public,
            lambda data: key.sign(data, padding.PKCS1v15(), chosen),
            signs_as=names[chosen.name],
        )

    @property
    def public_text(self) -> str:
        return f"{self.algorithm} {base64.b64encode(self.public).decode()}"

    def saying(self, *, flags: int | None = None, counter: int | None = None) -> SshSigner:
        """The same key, whose security key says other things."""
        return replace(
            self,
            flags=self.flags if flags is None else flags,
            counter=self.counter if counter is None else counter,
        )

    def sign(self, message: bytes, namespace: str) -> bytes:
        return armor(self.sign_raw(message, namespace))

    def sign_raw(
        self,
        message: bytes,
        namespace: str,
        *,
        hash_algorithm: str = "sha512",
        reserved: bytes = b"",
        version: int = 1,
        public: bytes | None = None,
    ) -> bytes:
        digest = hashlib.new(hash_algorithm, message).digest()
        named = string(namespace.encode()) + string(reserved) + string(hash_algorithm.encode())
        signature = self._signature(b"SSHSIG" + named + string(digest))
        key = string(self.public if public is None else public)
        return b"SSHSIG" + version.to_bytes(4, "big") + key + named + string(signature)

    def _signature(self, data: bytes) -> bytes:
        name = string((self.signs_as or self.algorithm).encode())
        if not self.application:
            return name + string(self.raw(data))
        said = bytes([self.flags]) + self.counter.to_bytes(4, "big")
        application = hashlib.sha256(self.application.encode()).digest()
        return name + string(self.raw(application + said + hashlib.sha256(data).digest())) + said


def _raw_public(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form)


def _ecdsa(key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    digests = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digests[key.curve.key_size])))
        return mpint(r) + mpint(s)

    return sign
