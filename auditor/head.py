"""Is the head that signerd shows a later head of the log that we know? First step of every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.core.codes import Code
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.growth import Growth, leaf_hashes
from auditor.core.proofs import (
    claimed_checkpoint,
    has_signature,
    is_consistent,
    no_signature,
    open_checkpoint,
)
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.ports import Log
from birthmark.proof import Checkpoint, VerifierKey, log_name

_CHUNK = 16_384  # entries a call


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
        known = _named_as(data, known)
        signed = [key for key in known if has_signature(data, key)]
        if signed:
            (checkpoint, *_) = [open_checkpoint(data, key) for key in signed]
            return Head(checkpoint, None)
        return Head(claimed_checkpoint(data, known[0].name), finding_of(no_signature(data, known[0])))
    except CheckFailed as error:
        raise Rejected(finding_of(error)) from error
    except (Malformed, NotFound) as error:
        raise Rejected(Finding(Code.CHECKPOINT_MALFORMED, str(error))) from error


def _named_as(data: bytes, known: Sequence[VerifierKey]) -> Sequence[VerifierKey]:
    """The known keys under the name of the log that is shown, if it is a later one of ours. Raises Rejected:
    an earlier one."""
    origin = data.partition(b"\n")[0].decode("utf-8", "replace")
    log, own = log_name(known[0].name)
    shown, number = log_name(origin)
    if shown != log or number == own:
        return known
    if number < own:
        detail = "the log of before its successor is shown"
        raise Rejected(Finding(Code.ROLLBACK, detail, None, None, known[0].name, origin))
    return [VerifierKey(origin, key.public_key) for key in known]


def check_continues(log: Log, head: Checkpoint, kept: Checkpoint) -> None:
    """Checks that the head continues the kept checkpoint. Raises Rejected, Unreachable."""
    if head.size < kept.size:
        raise Rejected(
            Finding(Code.ROLLBACK, "the log is shorter than before", None, None, _text(kept), _text(head))
        )
    if head.size == kept.size:
        if head.root != kept.root:
            raise Rejected(fork(head, kept, "two checkpoints of one size"))
        return
    if kept.size == 0:
        return
    check_passes(log, head, kept, "the kept checkpoint")


def check_passes(log: Log, head: Checkpoint, earlier: Checkpoint, what: str) -> None:
    """Checks that the head's tree passes through an earlier, signed checkpoint.

    A consistency proof that does not hold is no proof of a fork: whoever sends it may send a wrong one of an
    honest log. The entries decide, all of them. A fork is only what they show to be one.

    Raises:
        Rejected: FORK: the entries lead to the head and not to the earlier checkpoint. PROOF_MALFORMED: they
            lead to both, and the proof is wrong. CONTINUATION: they do not lead to the head either.
        Unreachable: signerd does not answer.
    """
    if is_prefix(log, head, earlier.size, earlier.root):
        return
    passed, root = _roots(log, head, earlier.size)
    if root != head.root:
        detail = f"neither proof nor entries show that the log continues {what}"
        raise Rejected(Finding(Code.CONTINUATION, detail, None, None, *_notes(earlier, head)))
    if passed != earlier.root:
        raise Rejected(fork(head, earlier, f"the log does not continue {what}"))
    wrong = f"a consistency proof from {earlier.size} to {head.size} that does not hold, of entries that do"
    raise Rejected(Finding(Code.PROOF_MALFORMED, wrong))


def check_prefix(log: Log, head: Checkpoint, size: int, root: bytes) -> None:
    """Checks that a successor of the log begins with the entries that were verified, so many of them. Else
    who has both keys could say that the end is lost, and write the rest anew.

    Raises:
        Rejected: SUCCESSION_HISTORY: by its entries it does not. PROOF_MALFORMED: it does, and its proof does
            not hold. CONTINUATION: its entries are not those of the head.
        Unreachable: signerd does not answer.
    """
    if size == 0 or is_prefix(log, head, size, root):
        return
    passed, whole = _roots(log, head, size)
    if whole != head.root:
        raise Rejected(Finding(Code.CONTINUATION, "the successor's entries are not those of its head"))
    if passed == root:
        wrong = f"a consistency proof from {size} to {head.size} that does not hold, of entries that do"
        raise Rejected(Finding(Code.PROOF_MALFORMED, wrong))
    detail = f"the successor has other entries among the first {size} than were verified: no loss explains it"
    expected = f"size {size}, root {root.hex()}"
    found = f"root {passed.hex()}\n{head.note.decode()}"
    raise Rejected(Finding(Code.SUCCESSION_HISTORY, detail, None, None, expected, found))


def _roots(log: Log, head: Checkpoint, size: int) -> tuple[bytes, bytes]:
    """Of the entries up to this size, and up to the head's."""
    growth, passed = Growth.empty(), b""
    try:
        while growth.size < head.size:
            end = min(head.size, growth.size + _CHUNK)
            if growth.size < size < end:
                end = size
            leaves = leaf_hashes(list(log.entries(growth.size, end)))
            if not leaves:
                break
            growth.extend(leaves)
            if growth.size == size:
                passed = growth.root()
    except (Malformed, NotFound):
        return b"", b""
    return passed, growth.root()


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


def fork(head: Checkpoint, kept: Checkpoint, detail: str) -> Finding:
    """Both notes stand in the finding: the log's key signed both, and no tree has both."""
    return Finding(Code.FORK, detail, None, None, *_notes(kept, head))


def _notes(kept: Checkpoint, head: Checkpoint) -> tuple[str, str]:
    return kept.note.decode(), head.note.decode()


def _text(checkpoint: Checkpoint) -> str:
    return f"size {checkpoint.size}, root {checkpoint.root.hex()}"
