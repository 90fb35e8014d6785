"""Method `none`: nothing but a chip id on the work order's list, and the CSR's own signature."""

from __future__ import annotations

from signerd.core.evidence.method import EvidenceError, Trust
from signerd.core.names import Level


class NoEvidence:
    """Reaches level `none`, which a work order must name for it to be enough."""

    name = "none"

    async def verify(self, transcript: bytes, evidence: bytes, trust: Trust) -> Level:  # noqa: ARG002 (the port)
        """Level `none` for a listed chip that sent nothing."""
        if evidence:
            raise EvidenceError("method none carries no evidence")
        if not trust.listed:
            raise EvidenceError("the chip is not on the work order's list")
        return Level.NONE
