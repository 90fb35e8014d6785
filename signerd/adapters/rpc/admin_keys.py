"""The part of `AdminService` about signerd's keys: which tokens open those that are sealed."""

from __future__ import annotations

from birthmark.v1 import admin_pb2
from signerd.adapters.clock import ClockGuard
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.store import SqlStore
from signerd.core.entry import KeysCommitted
from signerd.core.names import Place
from signerd.core.sealing import MAX_RECIPIENTS


class KeyAdministration:
    """Enters recipients. The secrets themselves never come here."""

    def __init__(self, *, store: SqlStore, clock: ClockGuard) -> None:
        self._store = store
        self._clock = clock

    async def commit_recipients(
        self, _caller: None, request: admin_pb2.CommitRecipientsRequest, /, *, preparing: bool = False
    ) -> admin_pb2.CommitRecipientsResponse:
        """Before a file changes: no token ever opens what the ledger does not say that it opens."""
        recipients = [fields.digest(each, "spki_sha256") for each in request.spki_sha256]
        if not 1 <= len(set(recipients)) == len(recipients) <= MAX_RECIPIENTS:
            raise fields.malformed(f"spki_sha256 does not name 1 to {MAX_RECIPIENTS} keys, each once")
        entry = KeysCommitted(
            time=self._clock(),
            by=fields.administrator_if_any(request.by),
            # Of a log without such an entry. Otherwise the store goes on with what the last one says.
            checkpoint=Place.TOKEN,
            chip_master=Place.TOKEN,
            chip_master_commitment=None,
            recipients=tuple(recipients),
        )
        approval = approval_of(request, None, preparing=preparing)
        index = await self._store.commit_recipients(entry, approval)
        return admin_pb2.CommitRecipientsResponse(ledger_index=index)
