"""Method `none`: nothing but a chip id on the work order's list, and the CSR's own signature."""

from __future__ import annotations

from signerd.core.evidence.method import EvidenceError, Origin, Proved, Request, Traits, Trust
from signerd.core.names import Level


class NoEvidence:
    """Reaches level `none`, which a work order must name for it to be enough."""

    name = "none"
    traits = Traits(
        origin=lambda _rules: Origin.STATION,
        anchors=frozenset(),
        reach=lambda _rules: Level.NONE,
        describe=lambda _rules: "the station's word for chips on the work order's list",
        shortfall="it is the station's word alone",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:  # noqa: ARG002 (the port)
        """Level `none` for a listed chip that sent nothing."""
        if evidence:
            raise EvidenceError("method none carries no evidence")
        if not trust.listed:
            raise EvidenceError("the chip is not on the work order's list")
        return Proved(Level.NONE)
