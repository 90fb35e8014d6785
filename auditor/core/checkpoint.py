"""C2SP tlog-checkpoints, strictly read: origin, size, root, and nothing more."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from auditor.core.note import VerifierKey, open_note, strict_base64, unverified_text
from auditor.errors import Malformed

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head of the log whose signature was verified, but for one that `claimed_checkpoint` made."""

    size: int
    root: bytes
    note: bytes  # as signed, to keep and to hand on


def parse_decimal(text: str) -> int:
    """A tree size or index: decimal, no sign, no leading zero, below 2^63. Raises Malformed."""
    if _DECIMAL.fullmatch(text) is None or int(text) > MAX_TREE_SIZE:
        raise Malformed("not a canonical decimal number below 2^63")
    return int(text)


def open_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """Verifies a checkpoint's signature, then reads it. The origin must be the key's name.

    Raises:
        Malformed: it is not a checkpoint, or of another log.
        CheckFailed: CHECKPOINT_SIGNATURE.
    """
    return _read(open_note(data, key).text, key.name, data)


def claimed_checkpoint(data: bytes, origin: str) -> Checkpoint:
    """A checkpoint of this log whose signatures are yet to be verified (`auditor.core.log_keys`). Raises
    Malformed."""
    return _read(unverified_text(data), origin, data)


def _read(text: str, origin: str, data: bytes) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise Malformed("a checkpoint has three lines: origin, size, root")
    if lines[0] != origin:
        raise Malformed("the checkpoint's origin is not the name of the log's key")
    root = strict_base64(lines[2])
    if len(root) != HASH_SIZE:
        raise Malformed("the checkpoint's root is not 32 bytes")
    return Checkpoint(parse_decimal(lines[1]), root, data)
