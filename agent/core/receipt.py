"""Receipts of the ledger: what they prove, and what their entry says.

`birthmark.proof` verifies that the log with a pinned key has published a head that covers exactly these
bytes. What the entry says is compared by the caller, with `require`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.core.log_keys import Cosigners, LogKey
from birthmark import proof
from birthmark.proof import Checkpoint, ProofError, Reason
from birthmark.proof.tile import MAX_ENTRY_BYTES

_UNPINNED = "the checkpoint is not signed by a key that log_vkey pins: the log may have another one by now"


class ReceiptError(ValueError):
    """The receipt proves nothing, or its entry speaks of something else."""


class UncosignedError(ReceiptError):
    """It proves its entry, and fewer witnesses have cosigned the checkpoint than the station demands."""


def verify_receipt(receipt: bytes, entry: bytes, index: int, key: LogKey) -> Checkpoint:
    """Verifies that `entry` stands at `index` of the log of `key`; returns the head that shows it.

    Raises:
        ReceiptError: malformed, another index, a path that leads elsewhere, or a signature that fails, a
            pinned witness's too.
        UncosignedError: too few of the pinned witnesses have cosigned.
    """
    if not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise ReceiptError("the entry is empty or too large")
    try:
        verified = proof.verify_receipt(receipt, entry, key.verifiers)
    except ProofError as error:
        raise ReceiptError(_UNPINNED if error.reason is Reason.UNSIGNED else str(error)) from error
    if verified.index != index:
        raise ReceiptError("the receipt is for another index")
    _require_cosigned(verified.checkpoint, key.cosigners)
    return verified.checkpoint


def _require_cosigned(checkpoint: Checkpoint, cosigners: Cosigners) -> None:
    try:
        proof.require_cosignatures(checkpoint, cosigners.witnesses, cosigners.at_least)
    except ProofError as error:
        kind = UncosignedError if error.reason is Reason.UNSIGNED else ReceiptError
        raise kind(str(error)) from error


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
