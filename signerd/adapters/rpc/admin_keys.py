"""The part of `AdminService` about signerd's keys: which tokens open those that are sealed."""

from __future__ import annotations

from birthmark.v1 import admin_pb2
from signerd.adapters.clock import ClockGuard
from signerd.adapters.keyholder.sealed_file import keys_committed
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.store import SqlStore
from signerd.config import HsmSettings
from signerd.core.sealing import MAX_RECIPIENTS
from signerd.errors import Code, Refused


class KeyAdministration:
    """Enters recipients. The secrets themselves never come here."""

    def __init__(self, *, store: SqlStore, clock: ClockGuard, hsm: HsmSettings) -> None:
        self._store = store
        self._clock = clock
        self._hsm = hsm

    async def commit_recipients(
        self, _caller: None, request: admin_pb2.CommitRecipientsRequest, /, *, preparing: bool = False
    ) -> admin_pb2.CommitRecipientsResponse:
        """Before the file changes: no token ever opens what the ledger does not say that it opens."""
        if self._hsm.sealed is None:
            raise Refused(Code.INVALID, "nothing is sealed: each key is in the token")
        recipients = [fields.digest(each, "spki_sha256") for each in request.spki_sha256]
        if not 1 <= len(set(recipients)) == len(recipients) <= MAX_RECIPIENTS:
            raise fields.malformed(f"spki_sha256 does not name 1 to {MAX_RECIPIENTS} keys, each once")
        by = fields.administrator_if_any(request.by)
        entry = keys_committed(self._hsm, recipients, self._clock(), by)
        approval = approval_of(request, None, preparing=preparing)
        index = await self._store.commit_recipients(entry, approval)
        return admin_pb2.CommitRecipientsResponse(ledger_index=index)
