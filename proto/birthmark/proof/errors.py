"""The one error of `birthmark.proof`."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why something proves nothing."""

    MALFORMED = "malformed"  # not of the form that its specification says
    UNSIGNED = "unsigned"  # by the keys that were asked for, or by too few of them
    WRONG_SIGNATURE = "wrong signature"  # one says that it is of such a key, and does not hold
    NOT_PROVED = "not proved"  # well-formed, and its hashes do not lead where it says
    MISSING = "missing"  # a tile that the tree must have is not there


class ProofError(ValueError):
    """What was given proves nothing. The text says what is off, without secrets and in one sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def malformed(detail: str) -> ProofError:
    """One whose reason is the form."""
    return ProofError(Reason.MALFORMED, detail)
