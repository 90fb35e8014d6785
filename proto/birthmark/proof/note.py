"""C2SP signed notes: a text, and signatures of any number of keys.

Guarantees: `open_note` returns only if at least one of the keys that it was given has signed exactly this
text, and none of them is named on a line whose signature does not hold. Lines of other keys are passed over,
as the specification demands: a log is cosigned by witnesses that a reader need not know.

    key = parse_vkey("log.example.com/signerd/line1+971c2ca2+AfmZ/H/mB9/RaFr8ggXAQ9dTX2EE4TjfizEUfOCJ5rX2")
    note = open_note(data, [key])
    note.text, note.signers
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from birthmark.proof.errors import ProofError, Reason, malformed
from birthmark.proof.spelling import MAX_NUMBER, decode_base64, encode_base64

MAX_NOTE_BYTES = 65_536  # a checkpoint with one signature has some 300
MAX_SIGNATURES = 64  # lines; the specification asks readers for at least 16
_KEY_ID_SIZE = 4
_PUBLIC_KEY_SIZE = 32  # Ed25519
_SIGNATURE_SIZE = 64  # Ed25519
_TIME_SIZE = 8  # of a cosignature, before the signature
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_DASH = "\u2014 "


class SignatureType(IntEnum):
    """The byte that stands before a public key, signed-note, "Signature types"."""

    ED25519 = 0x01  # a log's
    COSIGNATURE = 0x04  # a witness's: Ed25519 over the text and a time (tlog-cosignature, cosignature/v1)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Name and public key of a log or of a witness, as pinned. Raises ProofError where they can be none."""

    name: str
    public_key: bytes  # Ed25519, 32 bytes
    type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or not _is_utf8(self.name):
            raise malformed("a key's name has 1 to 255 characters, and neither spaces nor a plus")
        if len(self.public_key) != _PUBLIC_KEY_SIZE:
            raise malformed("an Ed25519 public key has 32 bytes")

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that stand before a signature of this key."""
        return sha256(self.name.encode() + b"\n" + self._typed()).digest()[:_KEY_ID_SIZE]

    def text(self) -> str:
        """`name+key id+base64(type ‖ public key)`, as `parse_vkey` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed())}"

    def _typed(self) -> bytes:
        return bytes([self.type]) + self.public_key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """A line below a note. Whether its signature holds is not known."""

    name: str
    key_id: bytes
    value: bytes  # for Ed25519 the signature, for a cosignature 8 bytes of time before it

    def is_of(self, key: VerifierKey) -> bool:
        """Whether it claims to be this key's."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A note as read. Nothing of it may be believed: `open_note` verifies."""

    text: str  # ends in a newline
    lines: tuple[SignatureLine, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and those of the keys asked for that signed it, in their order; at least one."""

    text: str  # ends in a newline
    signers: tuple[VerifierKey, ...]


def parse_vkey(text: str) -> VerifierKey:
    """Reads a verifier key, with or without a newline at its end. Raises ProofError.

    Types are Ed25519 and the cosignature of a witness; every other one is refused.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3 or _KEY_ID.fullmatch(parts[1]) is None:
        raise malformed("a verifier key is name+key id+base64 of type and public key")
    typed = decode_base64(parts[2])
    if len(typed) != 1 + _PUBLIC_KEY_SIZE or typed[0] not in set(SignatureType):
        raise malformed("the verifier key is neither an Ed25519 key nor that of a cosignature")
    key = VerifierKey(parts[0], typed[1:], SignatureType(typed[0]))
    if key.key_id.hex() != parts[1]:
        raise malformed("the verifier key's id is not that of its name and key")
    return key


def parse_note(data: bytes) -> UnverifiedNote:
    """Splits a note into text and signature lines. Verifies nothing. Raises ProofError."""
    if len(data) > MAX_NOTE_BYTES:
        raise malformed(f"a note of more than {MAX_NOTE_BYTES} bytes")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed("the note is not UTF-8") from error
    if any(char < " " and char != "\n" for char in note):
        raise malformed("the note has control characters")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise malformed("a note is a text, an empty line and signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise malformed(f"a note of more than {MAX_SIGNATURES} signatures")
    return UnverifiedNote(text + "\n", tuple(_line(line) for line in lines))


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> Note:
    """Verifies a note with pinned keys.

    Args:
        data: the note's bytes.
        keys: one or more. The note counts if one of them has signed it; `signers` says which have.

    Raises:
        ProofError: MALFORMED; UNSIGNED, none of the keys has signed it; or WRONG_SIGNATURE, one that claims
            to be of one of them does not hold, or one of them has two different ones.
    """
    note = parse_note(data)
    signers = tuple(key for key in dict.fromkeys(keys) if signature_of(note, key) is not None)
    if not signers:
        found = ", ".join(f"{line.name} {line.key_id.hex()}" for line in note.lines)
        raise ProofError(Reason.UNSIGNED, f"the note is signed by none of the keys asked for, but by {found}")
    return Note(note.text, signers)


def signature_of(note: UnverifiedNote, key: VerifierKey) -> bytes | None:
    """The value of this key's line, once its signature was verified; None where the key has no line.

    Raises:
        ProofError: WRONG_SIGNATURE, it does not hold, or there are two different ones.
    """
    found = {line.value for line in note.lines if line.is_of(key)}
    if not found:
        return None
    if len(found) > 1:
        raise ProofError(Reason.WRONG_SIGNATURE, f"two different signatures of {key.name}")
    value = found.pop()
    message, signature = _signed(note.text, key, value)
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise ProofError(Reason.WRONG_SIGNATURE, f"the signature of {key.name} does not hold") from error
    return value


def signature_line(key: VerifierKey, value: bytes) -> bytes:
    """The line for a signature that was made elsewhere; `value` as in `SignatureLine`."""
    return f"{_DASH}{key.name} {encode_base64(key.key_id + value)}\n".encode()


def cosigned_message(text: str, time: int) -> bytes:
    """What a witness signs (tlog-cosignature, "Ed25519 signed message").

    Args:
        text: of the note, with its final newline.
        time: POSIX seconds.

    Raises:
        ProofError: the time lies outside 0 to 2^63-1.
    """
    if not 0 <= time <= MAX_NUMBER:
        raise malformed("the time of a cosignature lies beyond 2^63")
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _signed(text: str, key: VerifierKey, value: bytes) -> tuple[bytes, bytes]:
    """The message that the key has signed, and the signature. Raises ProofError, WRONG_SIGNATURE."""
    if key.type is SignatureType.ED25519:
        return text.encode(), value
    if len(value) != _TIME_SIZE + _SIGNATURE_SIZE or value[0] & 0x80:
        raise ProofError(Reason.WRONG_SIGNATURE, f"the cosignature of {key.name} is not of its form")
    return cosigned_message(text, int.from_bytes(value[:_TIME_SIZE])), value[_TIME_SIZE:]


def _line(line: str) -> SignatureLine:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or _NAME.fullmatch(name) is None:
        raise malformed("a signature line is not of its form")
    value = decode_base64(encoded)
    if len(value) <= _KEY_ID_SIZE:
        raise malformed("a signature is too short")
    return SignatureLine(name, value[:_KEY_ID_SIZE], value[_KEY_ID_SIZE:])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
