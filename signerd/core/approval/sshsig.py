"""Signatures of `ssh-keygen -Y sign` (OpenSSH, PROTOCOL.sshsig), strictly read.

signature = read_signature(armored_or_raw)
touch = signature.verify(message, namespace)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.ssh_keys import SshKey, Touch, parse_key
from signerd.core.approval.ssh_wire import WireReader, wire_string

MAX_SIGNATURE = 2_048  # bytes: by RSA-4096 one has about 1,180
MAX_ARMORED = 4_096  # bytes
_MAGIC = b"SSHSIG"
_VERSION = 1
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A signature and the key that it says to be of. Nothing is verified yet."""

    blob: bytes  # the whole, without armor
    key: SshKey
    namespace: str
    hash_algorithm: str
    signature: bytes  # in SSH's wire form

    def verify(self, message: bytes, namespace: str) -> Touch | None:
        """Returns what a security key says. Raises ApprovalError: it is of another namespace or message."""
        if self.namespace != namespace:
            raise ApprovalError(
                f"signed for the namespace {self.namespace[:120]!r}, not for {namespace!r}:"
                f" ssh-keygen -Y sign -n {namespace}"
            )
        signed = b"".join(
            [
                _MAGIC,
                wire_string(namespace.encode()),
                wire_string(b""),
                wire_string(self.hash_algorithm.encode()),
                wire_string(_HASHES[self.hash_algorithm](message).digest()),
            ]
        )
        return self.key.verify(self.signature, signed)


def read_signature(data: bytes) -> SshSignature:
    """Reads a signature as `ssh-keygen` writes it, or its bytes without armor.

    Raises:
        ApprovalError: it is cut, too long, has something left over, or a key or hash that does not count.
    """
    blob = data if data.startswith(_MAGIC) else _without_armor(data)
    if len(blob) > MAX_SIGNATURE:
        raise ApprovalError(f"a signature of {len(blob)} bytes, more than {MAX_SIGNATURE}")
    reader = WireReader(blob, "the signature")
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ApprovalError("it is no signature of ssh-keygen -Y sign")
    version = reader.uint32()
    if version != _VERSION:
        raise ApprovalError(f"a signature of version {version}, not {_VERSION}")
    key = parse_key(reader.string())
    namespace = reader.text()
    if reader.string():
        raise ApprovalError("the signature's reserved part is not empty")
    hash_algorithm = reader.text()
    if hash_algorithm not in _HASHES:
        raise ApprovalError(f"hashed with {hash_algorithm[:40]!r}, not {' or '.join(_HASHES)}")
    signature = reader.string()
    reader.end()
    return SshSignature(blob, key, namespace, hash_algorithm, signature)


def _without_armor(data: bytes) -> bytes:
    if len(data) > MAX_ARMORED:
        raise ApprovalError(f"a signature's file of {len(data)} bytes, more than {MAX_ARMORED}")
    try:
        lines = data.decode("ascii").replace("\r\n", "\n").strip().split("\n")
    except UnicodeDecodeError as error:
        raise ApprovalError("it is no signature of ssh-keygen -Y sign") from error
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise ApprovalError(f"it is no signature of ssh-keygen -Y sign: it is not framed by {_BEGIN}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ApprovalError("the signature's file is damaged: it is not base64") from error
