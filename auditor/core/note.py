"""C2SP signed notes, strictly read, and one pinned Ed25519 key to verify them with.

Signatures of other keys are ignored: a log may be cosigned. A signature that claims to be of our key
and is not is fatal, as are two different ones.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed

MAX_NOTE = 65_536  # bytes
MAX_SIGNATURES = 64
_ED25519 = 0x01  # signature type of C2SP signed-note
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_VKEY = re.compile(r"(?P<name>[^+\n]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/=]+)")
_SIGNATURE = re.compile(r"— (?P<name>[^ ]+) (?P<value>[A-Za-z0-9+/=]+)")


def strict_base64(text: str) -> bytes:
    """Decodes standard base64 and refuses every other spelling of the same bytes. Raises Malformed."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64") from error
    if base64.b64encode(value).decode("ascii") != text:
        raise Malformed("base64 is not canonical")
    return value


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A log's name and public key, as pinned."""

    name: str
    key_id: bytes  # 4 bytes
    public_key: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """The text of a note whose signature by the pinned key holds. It ends in a newline."""

    text: str


def parse_vkey(text: str) -> VerifierKey:
    """Reads `name+key id+base64(01 ‖ public key)`. Raises Malformed."""
    match = _VKEY.fullmatch(text)
    if match is None or _NAME.fullmatch(match["name"]) is None:
        raise Malformed("not a verifier key")
    key = strict_base64(match["key"])
    if len(key) != 33 or key[0] != _ED25519:
        raise Malformed("the verifier key is not an Ed25519 key")
    key_id = sha256(match["name"].encode() + b"\n" + key).digest()[:4]
    if key_id.hex() != match["id"]:
        raise Malformed("the verifier key's id is not the one of its name and key")
    return VerifierKey(match["name"], key_id, Ed25519PublicKey.from_public_bytes(key[1:]))


def open_note(data: bytes, key: VerifierKey) -> VerifiedNote:
    """Verifies a note.

    Raises:
        Malformed: it is not a signed note.
        CheckFailed: CHECKPOINT_SIGNATURE, it bears no valid signature of this key.
    """
    text, lines = _split(data)
    signatures = {value[4:] for name, value in lines if _is_of(key, name, value)}
    if not signatures:
        raise no_signature(data, key)
    if len(signatures) > 1:
        raise CheckFailed(Code.CHECKPOINT_SIGNATURE, "two different signatures of the log's key")
    try:
        key.public_key.verify(signatures.pop(), text.encode())
    except InvalidSignature as error:
        raise CheckFailed(Code.CHECKPOINT_SIGNATURE, "the signature of the log's key is wrong") from error
    return VerifiedNote(text)


def has_signature(data: bytes, key: VerifierKey) -> bool:
    """Whether a line of the note claims to be of this key. Raises Malformed."""
    return any(_is_of(key, name, value) for name, value in _split(data)[1])


def no_signature(data: bytes, key: VerifierKey) -> CheckFailed:
    """Of a note without a signature of this key. Raises Malformed."""
    return CheckFailed(
        Code.CHECKPOINT_SIGNATURE,
        "no signature of the log's key",
        expected=f"{key.name} {key.key_id.hex()}",
        found=", ".join(f"{name} {value[:4].hex()}" for name, value in _split(data)[1]),
    )


def unverified_text(data: bytes) -> str:
    """The text of a note, whoever signed it. Raises Malformed."""
    return _split(data)[0]


def _is_of(key: VerifierKey, name: str, value: bytes) -> bool:
    return name == key.name and value[:4] == key.key_id


def _split(data: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    if len(data) > MAX_NOTE:
        raise Malformed("the note is too large")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("the note is not UTF-8") from error
    if any(char < " " and char != "\n" for char in note):
        raise Malformed("the note has control characters")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise Malformed("the note has no signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Malformed("the note has too many signatures")
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None or _NAME.fullmatch(match["name"]) is None:
        raise Malformed("a signature line is not of its form")
    value = strict_base64(match["value"])
    if len(value) < 5:
        raise Malformed("a signature is too short")
    return match["name"], value
