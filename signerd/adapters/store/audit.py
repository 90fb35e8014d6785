"""What auditors read. Proofs and entries are bounded to the published tree."""

from __future__ import annotations

from signerd.adapters.store.values import RecordFilter, RecordPage
from signerd.ports import Record


class Audit:
    """The part of `SqlStore` that `AuditService` calls."""

    @property
    def published_size(self) -> int:
        """Size of the tree of the last published checkpoint."""
        raise NotImplementedError

    def checkpoint(self) -> bytes:
        """The last published checkpoint, a signed note. Raises Unavailable before the first."""
        raise NotImplementedError

    def inclusion_proof(self, index: int, tree_size: int) -> list[bytes]:
        """Raises: Refused: `not_found`: unless index < tree_size ≤ the published size."""
        raise NotImplementedError

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """Raises: Refused: `not_found`: unless 1 ≤ old_size ≤ new_size ≤ the published size."""
        raise NotImplementedError

    async def entries(self, start: int, end: int) -> list[bytes]:
        """Entries start…end, at most `MAX_ENTRIES` of them.

        Raises:
            Refused: `not_found`: unless start ≤ end ≤ the published size.
        """
        raise NotImplementedError

    async def find_records(
        self, wanted: RecordFilter, *, after_record_id: int = 0, page_size: int = 500
    ) -> RecordPage:
        """A page of the records that match, by ascending id."""
        raise NotImplementedError

    async def record_by_serial(self, serial_number: str) -> Record | None:
        """The record of this serial number that is not superseded."""
        raise NotImplementedError

    async def record_by_certificate(self, certificate_sha256: bytes) -> Record | None:
        """The record of this certificate, superseded or not."""
        raise NotImplementedError
