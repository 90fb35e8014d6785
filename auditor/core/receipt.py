"""Receipts: C2SP tlog-proof@v1 without an `extra` line, verified offline."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.core.checkpoint import Checkpoint, open_checkpoint, parse_decimal
from auditor.core.codes import Code
from auditor.core.merkle import HASH_SIZE, MAX_PROOF_HASHES, is_included, leaf_hash
from auditor.core.note import MAX_NOTE, VerifierKey, strict_base64
from auditor.errors import CheckFailed, Malformed

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_RECEIPT = MAX_NOTE + 16_384  # bytes


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt shows: the entry is at `index` of the log that the checkpoint heads."""

    index: int
    checkpoint: Checkpoint


def verify_receipt(data: bytes, entry: bytes, key: VerifierKey) -> VerifiedReceipt:
    """Verifies that a receipt proves `entry`.

    Raises:
        Malformed: it is not a tlog-proof.
        CheckFailed: CHECKPOINT_SIGNATURE, or NOT_INCLUDED.
    """
    index, proof, note = _parse(data)
    checkpoint = open_checkpoint(note, key)
    if not is_included(
        index=index, size=checkpoint.size, root=checkpoint.root, leaf=leaf_hash(entry), proof=proof
    ):
        raise CheckFailed(Code.NOT_INCLUDED, f"the receipt does not prove this entry at index {index}")
    return VerifiedReceipt(index, checkpoint)


def _parse(data: bytes) -> tuple[int, list[bytes], bytes]:
    if len(data) > _MAX_RECEIPT:
        raise Malformed("the receipt is too large")
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("the receipt is not text") from error
    if not separator or len(lines) < 2 or lines[0] != _HEADER or not lines[1].startswith("index "):
        raise Malformed("not a tlog-proof@v1 with an index")
    if len(lines) - 2 > MAX_PROOF_HASHES:
        raise Malformed("the receipt has too many hashes")
    proof = [strict_base64(line) for line in lines[2:]]
    if any(len(item) != HASH_SIZE for item in proof):
        raise Malformed("a hash of the receipt is not 32 bytes")
    return parse_decimal(lines[1].removeprefix("index ")), proof, note
