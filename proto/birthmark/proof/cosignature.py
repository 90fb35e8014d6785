"""C2SP tlog-cosignatures of type `cosignature/v1` (04): what witnesses say of a checkpoint.

A witness's cosignature says: at this time, this was the largest head of this log that I had seen, and it
continued all that I had seen before. Guarantees: `cosignatures` returns only those whose signature holds, and
`require_cosignatures` returns only if enough different witnesses have signed.

    checkpoint = open_checkpoint(data, [log])
    require_cosignatures(checkpoint, witnesses, at_least=2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from birthmark.proof.checkpoint import Checkpoint, checkpoint_text
from birthmark.proof.errors import ProofError, Reason, malformed
from birthmark.proof.note import (
    SignatureType,
    VerifierKey,
    cosigned_message,
    parse_note,
    signature_line,
    signature_of,
)
from birthmark.proof.spelling import MAX_NUMBER

_TIME_SIZE = 8  # bytes, big-endian
_SIGNATURE_SIZE = 64  # bytes, Ed25519


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness, and when it signed."""

    witness: VerifierKey
    time: int  # POSIX seconds, by the witness's clock


def cosignatures(checkpoint: Checkpoint, witnesses: Sequence[VerifierKey]) -> tuple[Cosignature, ...]:
    """Verifies the cosignatures of these witnesses; returns one of each that has signed, in their order.

    Args:
        checkpoint: as `open_checkpoint` returned it, so that the log has signed it too.
        witnesses: keys of type COSIGNATURE. A key twice, also under two names, is one witness.

    Raises:
        ProofError: MALFORMED, or WRONG_SIGNATURE: a line that claims to be of one of them does not hold.
    """
    if any(witness.type is not SignatureType.COSIGNATURE for witness in witnesses):
        raise malformed("a witness has a key of type 04, cosignature/v1")
    note = parse_note(checkpoint.note)
    found: dict[bytes, Cosignature] = {}
    for witness in witnesses:
        value = signature_of(note, witness)
        if value is not None:
            made = Cosignature(witness, int.from_bytes(value[:_TIME_SIZE]))
            found.setdefault(witness.public_key, made)
    return tuple(found.values())


def require_cosignatures(
    checkpoint: Checkpoint, witnesses: Sequence[VerifierKey], at_least: int
) -> tuple[Cosignature, ...]:
    """As `cosignatures`, and raises ProofError, UNSIGNED, where fewer than `at_least` witnesses signed."""
    found = cosignatures(checkpoint, witnesses)
    if len(found) < at_least:
        raise ProofError(
            Reason.UNSIGNED, f"{len(found)} of {len(witnesses)} witnesses signed, and {at_least} must"
        )
    return found


def message_to_cosign(checkpoint: Checkpoint, time: int) -> bytes:
    """What a witness signs for a checkpoint, at this time in POSIX seconds. Raises ProofError."""
    return cosigned_message(checkpoint_text(checkpoint.origin, checkpoint.size, checkpoint.root), time)


def cosignature_line(witness: VerifierKey, time: int, signature: bytes) -> bytes:
    """The line to append to the note. Raises ProofError: no key of a witness, or no signature."""
    if witness.type is not SignatureType.COSIGNATURE or len(signature) != _SIGNATURE_SIZE:
        raise malformed("a cosignature is of a key of type 04, and has a signature of 64 bytes")
    if not 0 <= time <= MAX_NUMBER:
        raise malformed("the time of a cosignature lies beyond 2^63")
    return signature_line(witness, time.to_bytes(_TIME_SIZE) + signature)
