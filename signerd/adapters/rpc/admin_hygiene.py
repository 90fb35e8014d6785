"""The part of `AdminService` about the quality of keys that are certified already."""

from __future__ import annotations

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.shared_primes import SharedPrimesSearch
from signerd.adapters.store import SqlStore
from signerd.errors import Fault
from signerd.ports import RecordState

MAX_LISTED = 1_000  # certificates in an answer, admin.proto


class HygieneAdministration:
    """Searching for shared primes."""

    def __init__(self, *, store: SqlStore, search: SharedPrimesSearch) -> None:
        self._store = store
        self._search = search

    async def search_shared_primes(
        self, _caller: None, request: admin_pb2.SearchSharedPrimesRequest
    ) -> admin_pb2.SearchSharedPrimesResponse:
        """Begins a search if asked, and tells where it stands; a search outlasts what a call may take."""
        if request.begin:
            self._search.begin()
        state = self._search.state
        last = state.last
        answer = admin_pb2.SearchSharedPrimesResponse(
            ended=state.ended,
            running=state.running,
            failure=state.failure,
            finished_at=fields.timestamp(last.finished_at if last is not None else None),
        )
        if last is not None:
            answer.keys, answer.valid, answer.revoked = last.keys, len(last.valid), len(last.revoked)
            for digest in (*last.valid, *last.revoked)[:MAX_LISTED]:
                answer.certificates.append(await self._certificate(digest))
        return answer

    async def _certificate(self, digest: bytes) -> admin_pb2.SearchSharedPrimesResponse.Certificate:
        record = await self._store.record_by_certificate(digest)
        if record is None:
            raise Fault(f"no record of certificate {digest.hex()}, which the search has seen")
        return admin_pb2.SearchSharedPrimesResponse.Certificate(
            certificate_sha256=digest,
            work_order=record.place.work_order,
            chip_id=record.place.chip_id,
            serial_number=record.place.serial_number,
            revoked=record.state is RecordState.REVOKED,
        )
