"""C2SP tlog-checkpoints: a log's signed head.

Guarantees: `open_checkpoint` returns only what a pinned key of the log has signed. A checkpoint has exactly
three lines, origin, size and root: extension lines, which the specification allows to logs, are refused, as
they say what this package could not verify. The origin is the name of the log's keys.

    checkpoint = open_checkpoint(data, [parse_vkey(pinned)])
    checkpoint.size, checkpoint.root
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from birthmark.proof.errors import malformed
from birthmark.proof.note import SignatureType, VerifierKey, open_note, parse_note
from birthmark.proof.spelling import decode_hash, encode_base64, parse_decimal


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head of a log. It was verified, unless `parse_checkpoint` made it."""

    origin: str
    size: int  # entries
    root: bytes  # 32 bytes
    note: bytes  # as signed, to keep and to hand on


def open_checkpoint(data: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Verifies a checkpoint's signature, then reads it.

    Args:
        data: the signed note.
        keys: of one log. One of them must have signed it (`open_note`).

    Raises:
        ProofError: MALFORMED, also where it is another log's; UNSIGNED; or WRONG_SIGNATURE.
    """
    names = {key.name for key in keys}
    if len(names) != 1 or any(key.type is not SignatureType.ED25519 for key in keys):
        raise malformed("a checkpoint is opened with keys of one log")
    return _read(open_note(data, keys).text, names.pop(), data)


def parse_checkpoint(data: bytes, origin: str) -> Checkpoint:
    """Reads a checkpoint of this log and verifies no signature. Raises ProofError."""
    return _read(parse_note(data).text, origin, data)


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that a log signs."""
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def _read(text: str, origin: str, data: bytes) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise malformed("a checkpoint has three lines: origin, size, root")
    if lines[0] != origin:
        raise malformed("the checkpoint's origin is not the name of the log's key")
    return Checkpoint(origin, parse_decimal(lines[1]), decode_hash(lines[2]), data)
