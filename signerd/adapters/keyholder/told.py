"""What signerd tells a key holder's service: what administrators approved, before it is entered in the
ledger, and which orders were closed.

A command whose approval the service does not take is refused at the desk, and leaves nothing in the ledger.
At each start all of it is told once more: a service that was away, or that came to it later, has it then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.adapters.store import SqlStore
from signerd.errors import Code, Refused, Unavailable

_log = structlog.get_logger(__name__)


class ToldServices:
    """The services that hold keys for this signerd, each once."""

    def __init__(self, pools: Sequence[KeyHolderPool]) -> None:
        """`pools` of all issuers; those without a service are not told anything."""
        services = {pool.service: pool for pool in reversed(pools) if pool.service is not None}
        self._pools = tuple(services.values())

    async def approved(self, request: Any) -> None:
        """Shows the approval that an administrator's request carries.

        Raises:
            Refused: `approval_invalid`: a service does not take it.
            Unavailable: a service does not answer now.
        """
        approval = request.approval
        for pool in self._pools:
            try:
                await pool.show_approval(approval.statement, tuple(approval.signatures))
            except KeyHolderRefusal as error:
                raise Refused(Code.APPROVAL_INVALID, error.detail) from error

    async def closed(self, work_order: str) -> None:
        """Says that an order was closed. The next start says it again where a service does not answer."""
        for pool in self._pools:
            try:
                await pool.close_order(work_order)
            except Unavailable as error:
                _log.warning("key_holder_not_told", work_order=work_order, detail=error.detail)

    async def all_over(self, store: SqlStore) -> None:
        """Everything once more."""
        if not self._pools:
            return
        shown = await store.approvals_shown()
        for pool in self._pools:
            for text, signatures in shown.approvals:
                try:
                    await pool.show_approval(text, signatures)
                except (KeyHolderRefusal, Unavailable) as error:
                    _log.warning("key_holder_takes_no_approval", detail=error.detail)
        for work_order in shown.closed:
            await self.closed(work_order)
