"""`LedgerRefusals`: refusals as ledger entries, within each peer's share."""

from __future__ import annotations


class LedgerRefusals:
    """Implements `signerd.ports.RefusalLog`. `await start()`; `await close()` flushes."""

    def refused(
        self,
        *,
        peer: str | None,
        call: str,
        code: str,
        work_order: str | None = None,
        chip_id: str | None = None,
        csr_sha256: bytes | None = None,
    ) -> None:
        """Notes one refusal."""
        raise NotImplementedError
