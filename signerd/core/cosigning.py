"""A log's side of C2SP `tlog-witness`: what is sent to a witness, and what its answer says.

Guarantees that only a line that is this witness's cosignature over exactly this checkpoint is taken, whatever
the answer holds (`tlog-cosignature`, type `cosignature/v1`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signerd.core.note import NoteError

MAX_WITNESSES = 16  # of one log
MAX_ANSWER = 16_384  # bytes; a witness with two keys answers some 300
MAX_PROOF = 63  # hashes, of tlog-witness
SIZE_TYPE = "text/x.tlog.size"
_COSIGNATURE = 0x04  # signature type
_KEY_SIZE = 32
_LINE_SIZE = 4 + 8 + 64  # key id, time, signature
_DASH = "\u2014"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n?")


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """Name and Ed25519 public key of a witness."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key)[:4]."""
        named = self.name.encode() + b"\n" + bytes([_COSIGNATURE]) + self.public_key
        return hashlib.sha256(named).digest()[:4]

    def text(self) -> str:
        """The verifier key."""
        typed = base64.b64encode(bytes([_COSIGNATURE]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{typed}"


class Verdict(Enum):
    """What an answer says."""

    COSIGNED = "cosigned"
    ELSEWHERE = "it saw a tree of another size last"
    FORKED = "it says that this tree does not continue the one that it saw"
    REFUSED = "it does not take checkpoints of this log, or not signed by this key"
    BUSY = "it does not answer as a witness does"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    verdict: Verdict
    line: bytes = b""  # COSIGNED: the signature line
    size: int = 0  # ELSEWHERE: of the tree that it saw last
    detail: str = ""


def parse_witness_key(text: str) -> WitnessKey:
    """Reads a witness's verifier key.

    Raises:
        NoteError: it is of another form, of another type than `cosignature/v1`, or its key id does not agree.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or not _KEY_ID.fullmatch(parts[1]):
        raise NoteError("a verifier key is <name>+<8 hex digits>+<base64>")
    typed = _unb64(parts[2])
    if len(typed) != 1 + _KEY_SIZE or typed[0] != _COSIGNATURE:
        raise NoteError("not the key of a witness: its type is not cosignature/v1 (04)")
    key = WitnessKey(parts[0], typed[1:])
    if key.key_id.hex() != parts[1]:
        raise NoteError("the key id does not belong to this name and key")
    return key


def request_body(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of `add-checkpoint`: the size that the witness saw, the proof from there, the checkpoint."""
    if len(proof) > MAX_PROOF:
        raise ValueError("a consistency proof has at most 63 hashes")
    lines = "".join(f"{base64.b64encode(node).decode()}\n" for node in proof)
    return f"old {old}\n{lines}\n".encode() + note


def read_answer(status: int, content_type: str, body: bytes, *, text: bytes, key: WitnessKey) -> Answer:
    """What a witness answered to this checkpoint's text. Never raises: a witness may answer anything."""
    if len(body) > MAX_ANSWER:
        return Answer(Verdict.BUSY, detail="its answer is too long")
    match status:
        case 200:
            return _cosigned(body, text, key)
        case 409:
            return _elsewhere(body, content_type)
        case 422:
            return Answer(Verdict.FORKED, detail="the consistency proof does not hold for it (422)")
        case 400 | 403 | 404:
            return Answer(Verdict.REFUSED, detail=_REFUSED[status])
        case _:
            return Answer(Verdict.BUSY, detail=f"it answers with HTTP status {status}")


def has_line_of(note: bytes, line: bytes) -> bool:
    """Whether the note has a line of the key whose line this is. Two of one witness, of two times, are no
    note that a reader takes: the first one stays."""
    lines = note.rpartition(b"\n\n")[2].splitlines()
    return _key_of(line) in {_key_of(each) for each in lines}


def _key_of(line: bytes) -> tuple[bytes, bytes]:
    """Name and key id, as a signature line has them."""
    name, _, encoded = line.rstrip(b"\n").rpartition(b" ")
    return name, base64.b64decode(encoded)[:4]


def _cosigned(body: bytes, text: bytes, key: WitnessKey) -> Answer:
    if line := _line_of(body, text, key):
        return Answer(Verdict.COSIGNED, line=line)
    return Answer(Verdict.BUSY, detail=f"its answer has no cosignature of {key.name} that holds")


def _elsewhere(body: bytes, content_type: str) -> Answer:
    size = _SIZE.fullmatch(body.decode("latin-1"))
    if size is None or content_type.partition(";")[0].strip() != SIZE_TYPE:
        return Answer(Verdict.FORKED, detail="it cosigned another tree of this size (409)")
    return Answer(Verdict.ELSEWHERE, size=int(size[1]))


_REFUSED = {
    400: "it does not understand the request (400)",
    403: "it knows the log under another key (403): tell its operator the log's verifier key",
    404: "it does not know the log (404): tell its operator the log's verifier key",
}


def _line_of(body: bytes, text: bytes, key: WitnessKey) -> bytes:
    """The first of the answer's lines that is this witness's and holds; empty: none."""
    for line in body.splitlines(keepends=True):
        try:
            dash, name, encoded = line.decode().removesuffix("\n").split(" ")
            raw = _unb64(encoded)
        except (UnicodeDecodeError, ValueError):
            continue
        mine = dash == _DASH and name == key.name and raw[:4] == key.key_id and len(raw) == _LINE_SIZE
        if mine and _holds(raw[4:], text, key):
            return f"{_DASH} {name} {encoded}\n".encode()
    return b""


def _holds(signed: bytes, text: bytes, key: WitnessKey) -> bool:
    if signed[0] & 0x80:  # a time of 2^63 and more: readers refuse the whole note
        return False
    time = int.from_bytes(signed[:8])
    message = f"cosignature/v1\ntime {time}\n".encode() + text
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signed[8:], message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise NoteError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise NoteError("not canonical base64")
    return data
