"""Signatures of `ssh-keygen -Y sign` (OpenSSH, PROTOCOL.sshsig and PROTOCOL.u2f): administrators approve so.

touch = check_signature(sshsig, key_text, message, namespace)
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from hashlib import sha256, sha512

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from auditor.errors import Malformed

MAX_SIGNATURE = 2_048  # bytes
_SECURITY_KEYS = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    *_SECURITY_KEYS,
)
_RSA_SIZES = range(2_048, 4_097)
_RSA = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_EC = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_DIGESTS = {b"sha256": sha256, b"sha512": sha512}


@dataclass(frozen=True, slots=True)
class Touch:
    """What a security key said beside its signature."""

    verified: bool
    counter: int


def check_key(text: str) -> None:
    """Reads an administrator's key. Raises Malformed."""
    _public(text)


def signing_key(signature: bytes) -> str:
    """The fingerprint of the key that a signature names, as `ssh-keygen -l` prints it. Verifies nothing.

    Raises:
        Malformed: these bytes are no signature.
    """
    if len(signature) > MAX_SIGNATURE or signature[:10] != b"SSHSIG\x00\x00\x00\x01":
        raise Malformed("is no SSH signature of version 1")
    digest = sha256(_strings(signature[10:], 5)[0]).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def check_signature(signature: bytes, key: str, message: bytes, namespace: str) -> Touch | None:
    """Verifies that this key signed this message for this namespace.

    Args:
        signature: without armor.
        key: algorithm and key in base64, as in a `.pub` file.

    Returns:
        What a security key said; None for any other key.

    Raises:
        Malformed: it did not, or one of them is not of its form.
    """
    if len(signature) > MAX_SIGNATURE or signature[:10] != b"SSHSIG\x00\x00\x00\x01":
        raise Malformed("is no SSH signature of version 1")
    signer, stated, reserved, digest, made = _strings(signature[10:], 5)
    if signer != _blob(key):
        raise Malformed("is of another key than the administrator's")
    if stated != namespace.encode() or reserved or digest not in _DIGESTS:
        raise Malformed("is for another namespace, or hashed otherwise than by SHA-256 or SHA-512")
    hashed = _DIGESTS[digest](message).digest()
    signed = b"SSHSIG" + b"".join(map(_string, (stated, b"", digest, hashed)))
    kind = key.partition(" ")[0]
    if kind not in _SECURITY_KEYS:
        algorithm, raw = _strings(made, 2)
        _verify(key, kind, algorithm.decode("latin-1"), raw, signed)
        return None
    if len(made) < 5:  # flags and counter
        raise Malformed("is cut short")
    algorithm, raw = _strings(made[:-5], 2)
    flags, counter = struct.unpack(">BI", made[-5:])
    application = _strings_all(signer)[-1]
    said = sha256(application).digest() + made[-5:] + sha256(signed).digest()
    _verify(key, kind, algorithm.decode("latin-1"), raw, said)
    if not flags & 1 or not application.startswith(b"ssh:"):
        raise Malformed("is of a security key that nobody touched, or of one for something else")
    return Touch(bool(flags & 4), counter)


def _verify(key: str, kind: str, algorithm: str, raw: bytes, data: bytes) -> None:
    public = _public(key)
    try:
        if isinstance(public, rsa.RSAPublicKey):
            if algorithm not in _RSA:
                raise Malformed("is by RSA without SHA-2")
            public.verify(raw.rjust(public.key_size // 8, b"\0"), data, padding.PKCS1v15(), _RSA[algorithm])
            return
        if algorithm != kind:
            raise Malformed("is of another kind than its key")
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(raw, data)
        else:
            r, s = (int.from_bytes(each, "big", signed=True) for each in _strings(raw, 2))
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(_EC[public.curve.key_size]))
    except (InvalidSignature, ValueError) as error:
        raise Malformed("does not verify") from error


def _public(key: str) -> rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if key.partition(" ")[0] not in KINDS or key.count(" ") != 1:
        raise Malformed("is no key of a kind that counts")
    try:
        public = load_ssh_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("is no SSH key") from error
    if isinstance(public, rsa.RSAPublicKey) and public.key_size in _RSA_SIZES:
        return public
    if isinstance(public, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return public
    raise Malformed("is no key of a kind and size that counts")


def _blob(key: str) -> bytes:
    try:
        return base64.b64decode(key.partition(" ")[2], validate=True)
    except ValueError as error:
        raise Malformed("is no SSH key") from error


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes, count: int) -> list[bytes]:
    """Exactly so many strings of RFC 4251 §5."""
    found = _strings_all(data)
    if len(found) != count:
        raise Malformed("has another number of parts than a signature")
    return found


def _strings_all(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            raise Malformed("is cut short")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found
