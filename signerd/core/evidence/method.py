"""What every evidence method takes and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from signerd.core.evidence.claims import Claims
from signerd.core.names import Level

MAX_EVIDENCE_BYTES = 16384


class EvidenceError(ValueError):
    """The evidence does not hold for this request."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What signerd knows of the chip beforehand, and the one question that a secret must answer."""

    chip_id: str
    personalized: bool  # a secret of the company's was burned into it at a trusted place
    locked: bool  # and its firmware was locked there
    listed: bool  # it stands on this work order's list
    # check_mac(chip_id, message, mac): is this the MAC under the chip's key? Asked of the key holder.
    check_mac: Callable[[str, bytes, bytes], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class EvidenceSubmission:
    """What the station sent, as it sent it."""

    method: str
    claims: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """Evidence that held. Only `verify_evidence` makes it."""

    method: str
    level: Level
    claims: Claims


class Method(Protocol):
    """One way to show where a key was born."""

    name: str

    async def verify(self, transcript: bytes, evidence: bytes, trust: Trust) -> Level:
        """The level that this evidence reaches.

        Args:
            transcript: the bytes that the evidence must be over, built by signerd.
            evidence: at most 16,384 bytes from the station.
            trust: what is known of the chip.

        Raises:
            EvidenceError: it does not hold.
        """
        ...
