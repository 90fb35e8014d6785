"""Checkpoints: a log's signed head (C2SP signed-note and tlog-checkpoint), verified with pinned keys.

A log's key has successors: while two of them sign, a station that pins either goes on.

The text is read strictly: one form of each number, one base64 of each value, no control characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_NOTE_BYTES = 16_384
MAX_SIGNATURES = 16
MAX_KEYS = 8  # of one log, one a line of the pinned file
_ED25519 = b"\x01"  # C2SP signed-note signature type
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_PREFIX = "\u2014 "


class NoteError(ValueError):
    """The text is not a checkpoint, a proof or a verifier key, or its signature does not hold."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log's verifier key: its name, which is the log's origin, its key id and its public key."""

    name: str
    key_id: bytes  # 4 bytes
    public_key: bytes  # Ed25519, 32 bytes
    beside: tuple[LogKey, ...] = ()  # other keys of the same log, whose signature is as good


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head whose signature was verified."""

    origin: str
    size: int
    root: bytes  # 32 bytes


def parse_vkey(text: str) -> LogKey:
    """Reads `name+hex key id+base64(01 ‖ Ed25519 key)`, with or without a final newline.

    Raises:
        NoteError: it is something else, or the key id is not that of name and key.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3 or not parts[0] or any(character.isspace() for character in parts[0]):
        raise NoteError("not a verifier key (name+id+key)")
    name, id_text, key_text = parts
    key = decode_base64(key_text)
    if len(key) != 33 or key[:1] != _ED25519:
        raise NoteError("not an Ed25519 verifier key")
    key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if key_id.hex() != id_text:
        raise NoteError("the verifier key's id does not belong to its name and key")
    return LogKey(name, key_id, key[1:])


def parse_vkeys(text: str) -> LogKey:
    """Reads verifier keys of one log, one a line; empty lines and those that begin with # say nothing.

    Raises:
        NoteError: none, too many, one that is none, or of two logs.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = list(dict.fromkeys(parse_vkey(line) for line in lines if line and not line.startswith("#")))
    if not 1 <= len(keys) <= MAX_KEYS:
        raise NoteError(f"{len(keys)} verifier keys, and not 1 to {MAX_KEYS}")
    first, *others = keys
    if any(other.name != first.name for other in others):
        raise NoteError("verifier keys of two logs")
    return replace(first, beside=tuple(others))


def open_checkpoint(note: str, key: LogKey) -> Checkpoint:
    """Verifies a signed checkpoint; signatures of other keys are passed over.

    Raises:
        NoteError: malformed, of another origin, without a signature of `key` or one beside it, or with one of
            these that does not hold.
    """
    if len(note.encode()) > MAX_NOTE_BYTES or any(ord(c) < 0x20 and c != "\n" for c in note):
        raise NoteError("not a signed note")
    body, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteError("not a signed note")
    text = body + "\n"
    _verify(text.encode(), signatures.removesuffix("\n").split("\n"), key)
    lines = body.split("\n")
    if len(lines) != 3 or lines[0] != key.name:
        raise NoteError("not a checkpoint of this log")
    return Checkpoint(lines[0], parse_number(lines[1]), decode_hash(lines[2]))


def _verify(text: bytes, lines: list[str], key: LogKey) -> None:
    if len(lines) > MAX_SIGNATURES:
        raise NoteError("too many signatures")
    verified = False
    pinned = {each.key_id: each for each in (key, *key.beside)}
    for line in lines:
        name, space, value = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
        if not line.startswith(_SIGNATURE_PREFIX) or not name or not space:
            raise NoteError("malformed signature line")
        blob = decode_base64(value)
        signer = pinned.get(blob[:4])
        if name != key.name or signer is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(signer.public_key).verify(blob[4:], text)
        except (InvalidSignature, ValueError) as error:
            raise NoteError("the checkpoint's signature does not hold") from error
        verified = True
    if not verified:
        raise NoteError(
            "the checkpoint is not signed by a key that log_vkey pins: the log may have another one by now"
        )


def parse_number(text: str) -> int:
    """A decimal number below 10^19 without sign or leading zeros; raises NoteError."""
    if _NUMBER.fullmatch(text) is None:
        raise NoteError("not a decimal number")
    return int(text)


def decode_hash(text: str) -> bytes:
    """32 bytes from base64; raises NoteError."""
    value = decode_base64(text)
    if len(value) != 32:
        raise NoteError("not a SHA-256 value")
    return value


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding, in its one canonical spelling; raises NoteError."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("not base64") from error
    if base64.b64encode(value).decode() != text:
        raise NoteError("not canonical base64")
    return value
