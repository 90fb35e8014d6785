"""Is the head that signerd shows a later head of the log that we know? First step of every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.core.codes import Code
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.proofs import (
    claimed_checkpoint,
    has_signature,
    is_consistent,
    no_signature,
    open_checkpoint,
)
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.ports import Log
from birthmark.proof import Checkpoint, VerifierKey


@dataclass(frozen=True, slots=True)
class Head:
    """What signerd shows. `doubt`: none of the keys that we know has signed it. It stands unless the entries
    lead from one of these keys to those that have."""

    checkpoint: Checkpoint
    doubt: Finding | None


def read_head(log: Log, known: Sequence[VerifierKey]) -> Head:
    """Fetches the checkpoint, and verifies it with those of the known keys that have signed it. Raises
    Rejected, Unreachable."""
    try:
        data = log.checkpoint()
        signed = [key for key in known if has_signature(data, key)]
        if signed:
            (checkpoint, *_) = [open_checkpoint(data, key) for key in signed]
            return Head(checkpoint, None)
        return Head(claimed_checkpoint(data, known[0].name), finding_of(no_signature(data, known[0])))
    except CheckFailed as error:
        raise Rejected(finding_of(error)) from error
    except (Malformed, NotFound) as error:
        raise Rejected(Finding(Code.CHECKPOINT_MALFORMED, str(error))) from error


def check_continues(log: Log, head: Checkpoint, kept: Checkpoint) -> None:
    """Checks that the head continues the kept checkpoint. Raises Rejected, Unreachable."""
    if head.size < kept.size:
        raise Rejected(
            Finding(Code.ROLLBACK, "the log is shorter than before", None, None, _text(kept), _text(head))
        )
    if head.size == kept.size:
        if head.root != kept.root:
            raise Rejected(_fork(head, kept, "two checkpoints of one size"))
        return
    if kept.size == 0:
        return
    if not is_prefix(log, head, kept.size, kept.root):
        raise Rejected(_fork(head, kept, "the log does not continue the kept checkpoint"))


def is_prefix(log: Log, head: Checkpoint, size: int, root: bytes) -> bool:
    """Asks for a consistency proof, and checks it. Raises Rejected PROOF_MALFORMED, Unreachable."""
    try:
        proof = log.consistency_proof(size, head.size)
        return is_consistent(
            old_size=size, old_root=root, new_size=head.size, new_root=head.root, proof=proof
        )
    except (Malformed, NotFound) as error:
        detail = f"consistency proof from {size} to {head.size}: {error}"
        raise Rejected(Finding(Code.PROOF_MALFORMED, detail)) from error


def _fork(head: Checkpoint, kept: Checkpoint, detail: str) -> Finding:
    """Both notes stand in the finding: together they prove to anyone that the log's key signed both."""
    return Finding(Code.FORK, detail, None, None, kept.note.decode(), head.note.decode())


def _text(checkpoint: Checkpoint) -> str:
    return f"size {checkpoint.size}, root {checkpoint.root.hex()}"
