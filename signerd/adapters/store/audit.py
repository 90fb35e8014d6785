"""What auditors read. Proofs and entries are bounded to the published tree."""

from __future__ import annotations

from signerd.adapters.store import listing
from signerd.adapters.store.parts import Parts
from signerd.adapters.store.values import RecordFilter, RecordPage
from signerd.core.succession import succession_file
from signerd.errors import Code, Fault, Refused, Unavailable
from signerd.ports import Record

MAX_ENTRIES = 256  # entries in one answer


class Audit(Parts):
    """The part of `SqlStore` that `AuditService` calls."""

    _succession = (-1, b"")  # the index of the entry, and what followers are given

    @property
    def published_size(self) -> int:
        """Size of the tree of the last published checkpoint."""
        return self._ledger.size

    @property
    def tiles_size(self) -> int:
        """Size of the tree whose tiles readers of the folder find."""
        return self._ledger.tiles.size

    @property
    def bucket_size(self) -> int | None:
        """Of the tree whose tiles are in the bucket, 0 until that is known; None: there is no bucket."""
        return None if self._ledger.bucket is None else self._ledger.bucket.size

    @property
    def bucket_fault(self) -> Fault | None:
        """Why the bucket is behind. Stations are served all the same."""
        return None if self._ledger.bucket is None else self._ledger.bucket.fault

    @property
    def tiles_fault(self) -> Fault | None:
        """Why the tiles are behind the last published checkpoint. Stations are served all the same."""
        return self._ledger.tiles.fault

    def checkpoint(self) -> bytes:
        """The last published checkpoint, a signed note. Raises Unavailable before the first."""
        return self._ledger.note

    async def succession(self) -> bytes:
        """The newest `log_succeeded` entry and its receipt, for followers; empty: the log has no successor,
        or it is not published yet. Raises as `entries`."""
        said = self._ledger.keys.successions
        if not said:
            return b""
        if self._ledger.size <= said[-1].index:
            raise Unavailable("the log's successor is not published yet")
        index = said[-1].index
        if self._succession[0] != index:  # its first receipt does as well as a later one
            (entry,) = await self.entries(index, index + 1)
            self._succession = (index, succession_file(entry, await self._ledger.receipt(index)))
        return self._succession[1]

    async def inclusion_proof(self, index: int, tree_size: int) -> list[bytes]:
        """Raises: Refused: `not_found`: unless index < tree_size ≤ the published size."""
        if not index < tree_size <= self._ledger.size:
            raise Refused(Code.NOT_FOUND, "beyond the published tree")
        return await self._ledger.inclusion(index, tree_size)

    async def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """Raises: Refused: `not_found`: unless 1 ≤ old_size ≤ new_size ≤ the published size."""
        if not 1 <= old_size <= new_size <= self._ledger.size:
            raise Refused(Code.NOT_FOUND, "beyond the published tree")
        return await self._ledger.consistency(old_size, new_size)

    async def entries(self, start: int, end: int) -> list[bytes]:
        """Entries start…end, at most `MAX_ENTRIES` of them.

        Raises:
            Refused: `not_found`: unless start ≤ end ≤ the published size.
            Fault: an entry in the database is not the one that was logged.
        """
        if not start <= end <= self._ledger.size:
            raise Refused(Code.NOT_FOUND, "beyond the published tree")
        end = min(end, start + MAX_ENTRIES)
        found = await self._long_reader.do(lambda connection: listing.read_entries(connection, start, end))
        return await self._ledger.as_logged(start, end, found)

    async def find_records(
        self, wanted: RecordFilter, *, after_record_id: int = 0, page_size: int = 500
    ) -> RecordPage:
        """A page of the records that match, by ascending id."""
        return await self._long_reader.do(
            lambda connection: listing.find_records(
                connection, wanted, after_record_id=after_record_id, page_size=page_size
            )
        )

    async def record_by_serial(self, serial_number: str) -> Record | None:
        """The record of this serial number that is not superseded."""
        return await self._long_reader.do(
            lambda connection: listing.record_by_serial(connection, serial_number)
        )

    async def record_by_certificate(self, certificate_sha256: bytes) -> Record | None:
        """The record of this certificate, superseded or not."""
        return await self._long_reader.do(
            lambda connection: listing.record_by_certificate(connection, certificate_sha256)
        )

    async def product_text(self, sha256: bytes) -> str:
        """The TOML of a product's revision that a work order names."""
        text = await self._long_reader.do(lambda connection: listing.product_text(connection, sha256))
        if text is None:
            raise Fault(f"no product revision {sha256.hex()}")
        return text
