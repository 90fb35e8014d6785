"""Receipts: proof that an entry is in the ledger (C2SP tlog-proof@v1, RFC 6962 §2.1.1).

A receipt that passes shows that the log with the pinned key has published a head that covers exactly
these bytes at exactly this index. What the entry says is compared by the caller, with `require`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.note import Checkpoint, LogKey, NoteError, decode_hash, open_checkpoint, parse_number

MAX_RECEIPT_BYTES = 32_768
MAX_ENTRY_BYTES = 65_535
_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 64  # a tree of 2^64 leaves


class ReceiptError(ValueError):
    """The receipt proves nothing, or its entry speaks of something else."""


def verify_receipt(proof: bytes, entry: bytes, index: int, key: LogKey) -> Checkpoint:
    """Verifies that `entry` stands at `index` of the log of `key`; returns the head that shows it.

    Raises:
        ReceiptError: malformed, another index, a path that leads elsewhere, or a signature that fails.
    """
    if len(proof) > MAX_RECEIPT_BYTES or not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise ReceiptError("the receipt or its entry is too large")
    try:
        header, _, note = proof.decode("utf-8").partition("\n\n")
        path = _path(header.split("\n"), index)
        checkpoint = open_checkpoint(note, key)
    except (NoteError, UnicodeDecodeError) as error:
        raise ReceiptError(str(error)) from error
    leaf = hashlib.sha256(b"\x00" + entry).digest()
    if root_from_path(leaf, index, checkpoint.size, path) != checkpoint.root:
        raise ReceiptError("the entry is not in the tree of the checkpoint")
    return checkpoint


def _path(lines: Sequence[str], index: int) -> list[bytes]:
    if len(lines) < 2 or lines[0] != _HEADER or not lines[1].startswith("index "):
        raise NoteError("not a tlog-proof without extra data")
    if parse_number(lines[1].removeprefix("index ")) != index:
        raise NoteError("the receipt is for another index")
    return [decode_hash(line) for line in lines[2:]]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which an inclusion path leads (RFC 9162 §2.1.3.2, the same tree as RFC 6962).

    Raises:
        ReceiptError: the path has not the length that index and size demand.
    """
    if not 0 <= index < size or len(path) > _MAX_PATH:
        raise ReceiptError("the index lies beyond the tree")
    node, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ReceiptError("the path is too long")
        if node & 1 or node == last:
            value = _node(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = _node(value, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ReceiptError("the path is too short")
    return value


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def require(entry: bytes, expected: Mapping[str, object]) -> None:
    """Checks that the entry, a JSON object, has these members with these values. Its form may be any: what is
    asked for here keeps name and meaning in each form (docs/formats.md, "Ledger"), so that a newer signerd
    needs no newer agent.

    Raises:
        ReceiptError: it is no JSON object, says no form, names a member twice, or differs; the text names the
            member only.
    """
    try:
        document = json.loads(entry.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ReceiptError("the ledger entry is not JSON") from error
    if not isinstance(document, dict):
        raise ReceiptError("the ledger entry is not a JSON object")
    form = document.get("v")
    if type(form) is not int or form < 1:
        raise ReceiptError("the ledger entry does not say which form it has")
    for member, value in expected.items():
        found = document.get(member)
        if type(found) is not type(value) or found != value:
            raise ReceiptError(f"the ledger entry speaks of another {member}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a member appears twice")
    return document
