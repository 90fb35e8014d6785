"""Receipts: C2SP tlog-proof@v1 without an `extra` line. They show offline that an entry is in a log.

Guarantees: `verify_receipt` returns only if the log whose key is pinned has signed a head whose tree has
exactly these bytes at exactly this index. What the entry says is for the caller to read.

    verified = verify_receipt(receipt, entry, [parse_vkey(pinned)])
    verified.index, verified.checkpoint.size
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from birthmark.proof.checkpoint import Checkpoint, open_checkpoint
from birthmark.proof.errors import malformed
from birthmark.proof.merkle import leaf_hash, verify_inclusion
from birthmark.proof.note import MAX_NOTE_BYTES, VerifierKey
from birthmark.proof.spelling import decode_hash, encode_base64, parse_decimal

MAX_RECEIPT_BYTES = MAX_NOTE_BYTES + 4_096  # the note, and 63 hashes of 45 bytes
_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63  # a tree of 2^63 leaves


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as read. Nothing of it was verified."""

    index: int
    proof: tuple[bytes, ...]  # hashes, the leaf's sibling first
    note: bytes  # the checkpoint

    def data(self) -> bytes:
        """The text, as `parse_receipt` reads it."""
        hashes = "".join(f"{encode_base64(item)}\n" for item in self.proof)
        return f"{_HEADER}\nindex {self.index}\n{hashes}\n".encode() + self.note


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt shows: the entry is at `index` of the log that the checkpoint heads."""

    index: int
    checkpoint: Checkpoint


def verify_receipt(data: bytes, entry: bytes, keys: Sequence[VerifierKey]) -> VerifiedReceipt:
    """Verifies that a receipt proves an entry.

    Args:
        data: the receipt.
        entry: the entry's bytes, as they stand in the log.
        keys: of the log, pinned. One of them must have signed the checkpoint.

    Raises:
        ProofError: MALFORMED, UNSIGNED, WRONG_SIGNATURE, or NOT_PROVED.
    """
    receipt = parse_receipt(data)
    checkpoint = open_checkpoint(receipt.note, keys)
    verify_inclusion(
        index=receipt.index,
        size=checkpoint.size,
        root=checkpoint.root,
        leaf=leaf_hash(entry),
        proof=receipt.proof,
    )
    return VerifiedReceipt(receipt.index, checkpoint)


def parse_receipt(data: bytes) -> Receipt:
    """Reads a receipt and verifies nothing. Raises ProofError."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise malformed(f"a receipt of more than {MAX_RECEIPT_BYTES} bytes")
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise malformed("a receipt is text") from error
    if not separator or len(lines) < 2 or lines[0] != _HEADER or not lines[1].startswith("index "):
        raise malformed("not a tlog-proof@v1 with an index and without extra data")
    if len(lines) - 2 > _MAX_HASHES:
        raise malformed(f"a receipt of more than {_MAX_HASHES} hashes")
    proof = tuple(decode_hash(line) for line in lines[2:])
    return Receipt(parse_decimal(lines[1].removeprefix("index ")), proof, note)
