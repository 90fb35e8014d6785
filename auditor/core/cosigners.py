"""Witnesses whose cosignatures an auditor demands of a log's checkpoint (C2SP tlog-cosignature).

Guarantees that `demand` returns only for a checkpoint that so many different ones of them have cosigned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed
from birthmark.proof import (
    Checkpoint,
    ProofError,
    SignatureType,
    VerifierKey,
    parse_vkey,
    require_cosignatures,
)
from birthmark.proof.note import parse_note

MAX_WITNESSES = 16


@dataclass(frozen=True, slots=True)
class Cosigners:
    """Of none, nothing is demanded."""

    witnesses: tuple[VerifierKey, ...] = ()
    at_least: int = 0

    @classmethod
    def of(cls, texts: Iterable[str], at_least: int) -> Cosigners:
        """Of verifier keys, each a text. Raises Malformed: one is no witness's, one is there twice, none,
        too many, or fewer than `at_least`."""
        keys = [_witness(text) for text in texts]
        if not 1 <= len(keys) <= MAX_WITNESSES:
            raise Malformed(f"{len(keys)} witnesses, and not 1 to {MAX_WITNESSES}")
        if len({key.public_key for key in keys}) != len(keys):
            raise Malformed("one witness's key is there twice, and counts as one")
        if not 1 <= at_least <= len(keys):
            raise Malformed(f"{at_least} of {len(keys)} witnesses are to cosign")
        return cls(tuple(keys), at_least)

    def demand(self, checkpoint: Checkpoint) -> None:
        """Raises CheckFailed, NOT_COSIGNED: too few have cosigned it, or a cosignature does not hold."""
        try:
            require_cosignatures(checkpoint, self.witnesses, self.at_least)
        except ProofError as error:
            lines = parse_note(checkpoint.note).lines
            raise CheckFailed(
                Code.NOT_COSIGNED,
                f"the checkpoint over {checkpoint.size} entries: {error}",
                expected=f"{self.at_least} of {', '.join(key.name for key in self.witnesses)}",
                found=", ".join(dict.fromkeys(line.name for line in lines if line.name != checkpoint.origin)),
            ) from error


def _witness(text: str) -> VerifierKey:
    try:
        key = parse_vkey(text)
    except ProofError as error:
        raise Malformed(f"{text:.80}: {error}") from error
    if key.type is not SignatureType.COSIGNATURE:
        raise Malformed(f"{text:.80}: the verifier key is a log's, and not a witness's")
    return key
