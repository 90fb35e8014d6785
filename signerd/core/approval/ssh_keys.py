"""Public keys of administrators in OpenSSH's form, and signatures under them.

Guarantees that a key is of a kind and size that counts, and that `verify` returns for a good signature
alone. RSA signs with SHA-2 (RFC 8332), never with SHA-1. Keys in security keys (PROTOCOL.u2f) say that their
user was present: a signature without that is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.ssh_wire import WireReader

ED25519: Final = "ssh-ed25519"
RSA: Final = "ssh-rsa"
SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
_CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]] = {  # RFC 5656 §6.2.1
    "ecdsa-sha2-nistp256": ("nistp256", ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-sha2-nistp384": ("nistp384", ec.SECP384R1(), hashes.SHA384()),
    "ecdsa-sha2-nistp521": ("nistp521", ec.SECP521R1(), hashes.SHA512()),
    SK_ECDSA: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {  # RFC 8332 §3
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}
ALGORITHMS: Final = (ED25519, *_CURVES, SK_ED25519, RSA)
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 4_096
MAX_KEY = 1_024  # bytes: RSA-4096 takes 535
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04  # PROTOCOL.u2f, "SSH U2F Signatures"
_APPLICATION = "ssh:"  # every key that ssh-keygen makes begins so; a browser's keys do not


@dataclass(frozen=True, slots=True)
class Touch:
    """What a security key says beside its signature."""

    verified: bool  # by PIN or fingerprint
    counter: int


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key. `blob` is its wire form, which names it; the other members follow from it."""

    blob: bytes
    algorithm: str
    public: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    application: str = ""  # of a key in a security key

    @property
    def text(self) -> str:
        """As it stands in a `.pub` file, without comment."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` says it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def touched(self) -> bool:
        """Whether it lives in a security key."""
        return self.algorithm in (SK_ED25519, SK_ECDSA)

    def verify(self, signature: bytes, data: bytes) -> Touch | None:
        """Holds a signature in its wire form against the bytes that were signed.

        Returns:
            What the security key says; None for a key that is in none.

        Raises:
            ApprovalError: it is not this key's over these bytes, or of another algorithm than the key's.
        """
        reader = WireReader(signature, "the signature")
        algorithm = reader.text()
        raw = reader.string()
        if not self.touched:
            reader.end()
            self._check(algorithm, raw, data)
            return None
        flags, counter = reader.take(1)[0], reader.uint32()
        reader.end()
        said = bytes([flags]) + counter.to_bytes(4, "big")
        application = hashlib.sha256(self.application.encode()).digest()
        self._check(algorithm, raw, application + said + hashlib.sha256(data).digest())
        if not flags & _USER_PRESENT:
            raise ApprovalError("the security key signed without being touched")
        return Touch(bool(flags & _USER_VERIFIED), counter)

    def _check(self, algorithm: str, raw: bytes, data: bytes) -> None:
        if isinstance(self.public, rsa.RSAPublicKey):
            if algorithm not in _RSA_HASHES:
                raise ApprovalError(f"an RSA key signs with {' or '.join(_RSA_HASHES)}, not {algorithm!r}")
        elif algorithm != self.algorithm:
            raise ApprovalError(f"a signature of {algorithm!r} by a key of {self.algorithm}")
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                # RFC 8332 §3: as long as the modulus; leading zero bytes may have been left out.
                padded = raw.rjust(self.public.key_size // 8, b"\0")
                self.public.verify(padded, data, padding.PKCS1v15(), _RSA_HASHES[algorithm])
            elif isinstance(self.public, ec.EllipticCurvePublicKey):
                self.public.verify(_der(raw), data, ec.ECDSA(_CURVES[self.algorithm][2]))
            else:
                self.public.verify(raw, data)
        except InvalidSignature as error:
            raise ApprovalError(
                "the signature does not verify: it is over another text, or was changed"
            ) from error


def parse_key(blob: bytes) -> SshKey:
    """Reads a public key's wire form.

    Raises:
        ApprovalError: it is cut, too long, of a kind or size that does not count, or no point of its curve.
    """
    if len(blob) > MAX_KEY:
        raise ApprovalError(f"the key has {len(blob)} bytes, more than {MAX_KEY}")
    reader = WireReader(blob, "the key")
    algorithm = reader.text()
    if "-cert-v" in algorithm:
        raise ApprovalError(
            f"{algorithm[:80]} is a certificate: administrators are named by their keys, not by a CA"
        )
    if algorithm not in ALGORITHMS:
        raise ApprovalError(f"keys of {algorithm[:80]!r} do not count: use one of {', '.join(ALGORITHMS)}")
    try:
        public = _public(reader, algorithm)
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, ApprovalError):
            raise
        raise ApprovalError(f"the key is no {algorithm} key") from error
    application = ""
    if algorithm in (SK_ED25519, SK_ECDSA):
        application = reader.text()
        if not application.startswith(_APPLICATION):
            raise ApprovalError(
                f"the security key's key is for {application[:80]!r}:"
                f" ssh-keygen makes one for {_APPLICATION!r}"
            )
    reader.end()
    return SshKey(blob, algorithm, public, application)


def parse_key_text(algorithm: str, encoded: str) -> SshKey:
    """Reads the two words of a `.pub` file. Raises ApprovalError."""
    try:
        key = parse_key(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise ApprovalError("the key is not base64") from error
    if key.algorithm != algorithm:
        raise ApprovalError(f"the key says {key.algorithm}, and stands under {algorithm[:80]!r}")
    if key.text != f"{algorithm} {encoded}":
        raise ApprovalError("the key is not base64 in its one form")
    return key


def _public(
    reader: WireReader, algorithm: str
) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    if algorithm in (ED25519, SK_ED25519):
        return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())
    if algorithm in _CURVES:
        name, curve, _ = _CURVES[algorithm]
        if reader.text() != name:
            raise ApprovalError(f"the key names another curve than {algorithm}")
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, reader.string())
    exponent, modulus = reader.positive(), reader.positive()
    if modulus % 2 == 0:
        raise ApprovalError("the key is no RSA key: its modulus is even")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        bits = modulus.bit_length()
        raise ApprovalError(f"an RSA key of {bits} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _der(raw: bytes) -> bytes:
    """RFC 5656 §3.1.2: the two numbers, as DER."""
    reader = WireReader(raw, "the ECDSA signature")
    numbers = reader.positive(), reader.positive()
    reader.end()
    return encode_dss_signature(*numbers)
