"""Checkpoints, receipts and proofs as findings know them: `birthmark.proof` verifies, this names what is off.

What is not of its form is `Malformed`. What proves nothing is `CheckFailed` with the code of a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed
from birthmark import proof as given
from birthmark.proof import Checkpoint, ProofError, Reason, SignatureType, VerifiedReceipt, VerifierKey
from birthmark.proof.note import parse_note

_CODES = {
    Reason.UNSIGNED: Code.CHECKPOINT_SIGNATURE,
    Reason.WRONG_SIGNATURE: Code.CHECKPOINT_SIGNATURE,
    Reason.NOT_PROVED: Code.NOT_INCLUDED,
}


def parse_vkey(text: str) -> VerifierKey:
    """A log's verifier key in its one spelling. Raises Malformed."""
    with translated():
        key = given.parse_vkey(text)
    if key.type is not SignatureType.ED25519 or key.text() != text:
        raise Malformed("not the verifier key of a log")
    return key


def open_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """Verifies a checkpoint's signature, then reads it. The origin must be the key's name.

    Raises:
        Malformed: it is not a checkpoint, or of another log.
        CheckFailed: CHECKPOINT_SIGNATURE.
    """
    if not has_signature(data, key):
        raise no_signature(data, key)
    with translated():
        return given.open_checkpoint(data, [key])


def claimed_checkpoint(data: bytes, origin: str) -> Checkpoint:
    """A checkpoint of this log whose signatures are yet to be verified (`auditor.core.log_keys`). Raises
    Malformed."""
    with translated():
        return given.parse_checkpoint(data, origin)


def has_signature(data: bytes, key: VerifierKey) -> bool:
    """Whether a line of the note claims to be of this key. Raises Malformed."""
    with translated():
        return any(line.is_of(key) for line in parse_note(data).lines)


def no_signature(data: bytes, key: VerifierKey) -> CheckFailed:
    """Of a note without a signature of this key. Raises Malformed."""
    with translated():
        lines = parse_note(data).lines
    return CheckFailed(
        Code.CHECKPOINT_SIGNATURE,
        "no signature of the log's key",
        expected=f"{key.name} {key.key_id.hex()}",
        found=", ".join(f"{line.name} {line.key_id.hex()}" for line in lines),
    )


def is_included(*, index: int, size: int, root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """True if the proof shows that `leaf` (a hash) is at `index` of the tree. Raises Malformed."""
    try:
        given.verify_inclusion(index=index, size=size, root=root, leaf=leaf, proof=proof)
    except ProofError as error:
        return _not_proved(error)
    return True


def is_consistent(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """True if the proof shows that the new tree continues the old one. Raises Malformed, also where the old
    tree is empty: it is consistent with anything."""
    try:
        given.verify_consistency(
            old_size=old_size, old_root=old_root, new_size=new_size, new_root=new_root, proof=proof
        )
    except ProofError as error:
        return _not_proved(error)
    return True


def verify_receipt(data: bytes, entry: bytes, key: VerifierKey) -> VerifiedReceipt:
    """Verifies that a receipt proves `entry`.

    Raises:
        Malformed: it is not a receipt.
        CheckFailed: CHECKPOINT_SIGNATURE, or NOT_INCLUDED.
    """
    with translated():
        return given.verify_receipt(data, entry, [key])


@contextmanager
def translated() -> Iterator[None]:
    """What `birthmark.proof` refuses, as `Malformed` or `CheckFailed`."""
    try:
        yield
    except ProofError as error:
        code = _CODES.get(error.reason)
        if code is None:
            raise Malformed(str(error)) from error
        raise CheckFailed(code, str(error)) from error


def _not_proved(error: ProofError) -> bool:
    """False, but where the proof is none at all. Raises Malformed."""
    if error.reason is not Reason.NOT_PROVED:
        raise Malformed(str(error)) from error
    return False
