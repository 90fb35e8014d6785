"""Checkpoints (C2SP `tlog-checkpoint`) in signed notes (C2SP `signed-note`), with Ed25519 keys.

Guarantees one spelling: what `parse_checkpoint` accepts, `Checkpoint.body` gives back byte for byte. An
extension line, a sign or leading zero in the size, or unpadded base64 is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signerd.core.merkle import HASH_SIZE

MAX_NOTE = 65_536  # bytes; a checkpoint with a signature has some 300
_ED25519 = 0x01  # signature type of signed-note
_ED25519_KEY_SIZE = 32
_ED25519_SIGNATURE_SIZE = 64
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_KEY_HASH = re.compile(r"[0-9a-f]{8}")


class NoteError(ValueError):
    """A note, checkpoint or verifier key that is not of its form, or a signature that does not hold."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Name and Ed25519 public key of a log (signed-note, "Verifier keys")."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that stand before a signature: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key)[:4]."""
        named = self.name.encode() + b"\n" + bytes([_ED25519]) + self.public_key
        return hashlib.sha256(named).digest()[:4]

    def named(self, name: str) -> VerifierKey:
        """The same key of a log of this name: its id is another one."""
        return VerifierKey(name, self.public_key)

    def text(self) -> str:
        """`<name>+<key id>+<base64(0x01 ‖ key)>`."""
        key = base64.b64encode(bytes([_ED25519]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's size and root under a log's name."""

    origin: str
    size: int
    root: bytes

    def body(self) -> bytes:
        """The note text that is signed; it ends in a newline."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n".encode()


def parse_vkey(text: str) -> VerifierKey:
    """Reads a verifier key; one newline at its end is allowed.

    Raises:
        NoteError: it is of another form, of another type than Ed25519, or its key id does not agree.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or not _KEY_HASH.fullmatch(parts[1]):
        raise NoteError("a verifier key is <name>+<8 hex digits>+<base64>")
    raw = _unb64(parts[2])
    if len(raw) != 1 + _ED25519_KEY_SIZE or raw[0] != _ED25519:
        raise NoteError("not an Ed25519 verifier key")
    key = VerifierKey(parts[0], raw[1:])
    if key.key_id.hex() != parts[1]:
        raise NoteError("the key id does not belong to this name and key")
    return key


def parse_checkpoint(body: bytes) -> Checkpoint:
    """Reads a note text: exactly origin, size and root.

    Raises:
        NoteError: it is of another form.
    """
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError as error:
        raise NoteError("a checkpoint is UTF-8 text") from error
    if len(lines) != 4 or lines[3]:
        raise NoteError("a checkpoint has three lines")
    origin, size, root = lines[0], lines[1], _unb64(lines[2])
    if not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(root) != HASH_SIZE:
        raise NoteError("not an origin, a decimal size and a SHA-256 root")
    return Checkpoint(origin, int(size), root)


def sign_note(body: bytes, *signed: tuple[VerifierKey, bytes]) -> bytes:
    """The note text with a signature line of each key; a signature is Ed25519 over `body`, 64 bytes."""
    if not signed or any(len(signature) != _ED25519_SIGNATURE_SIZE for _, signature in signed):
        raise NoteError("an Ed25519 signature has 64 bytes")
    lines = "".join(f"— {key.name} {_b64(key.key_id + signature)}\n" for key, signature in signed)
    return body + b"\n" + lines.encode()


def open_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """Reads a note that `key` signed, and perhaps others: its checkpoint.

    Raises:
        NoteError: it is of another form, of another origin, or the signature is missing or wrong.
    """
    checkpoint, body, lines = _parts(note, key.name)
    signatures = [found for line in lines.split(b"\n")[:-1] for found in _signature(line, key)]
    if len(signatures) != 1:
        raise NoteError(f"the note has {len(signatures)} signatures of {key.name}, not one")
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signatures[0], body)
    except (InvalidSignature, ValueError) as error:
        raise NoteError(f"the signature of {key.name} does not hold") from error
    return checkpoint


def claimed_checkpoint(note: bytes, origin: str | None) -> Checkpoint:
    """Reads a note of this log, or of any, whose signatures are yet to be verified. Raises NoteError."""
    return _parts(note, origin)[0]


def _parts(note: bytes, origin: str | None) -> tuple[Checkpoint, bytes, bytes]:
    """Checkpoint, text and signature lines."""
    if len(note) > MAX_NOTE:
        raise NoteError("the note is too long")
    body, separator, lines = note.rpartition(b"\n\n")
    body += b"\n"
    if not separator or not lines.endswith(b"\n"):
        raise NoteError("a signed note is a text, a blank line and signature lines")
    checkpoint = parse_checkpoint(body)
    if origin is not None and checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, not of {origin}")
    return checkpoint, body, lines


def _signature(line: bytes, key: VerifierKey) -> list[bytes]:
    """The signature of this line if it is `key`'s, else nothing: other signers' lines are passed over."""
    try:
        dash, name, encoded = line.decode().split(" ")
    except (UnicodeDecodeError, ValueError) as error:
        raise NoteError("not a signature line") from error
    raw = _unb64(encoded)
    if dash != "—" or not _NAME.fullmatch(name) or len(raw) <= 4:
        raise NoteError("not a signature line")
    if name != key.name or raw[:4] != key.key_id:
        return []
    return [raw[4:]]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    """Base64 in its one canonical spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise NoteError("not base64") from error
    if _b64(data) != text:
        raise NoteError("not canonical base64")
    return data
