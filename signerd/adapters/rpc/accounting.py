"""One metric and one log line for each call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from signerd.adapters.metrics import Metrics
from signerd.adapters.rpc.gate import Account
from signerd.errors import Code, Fault, Refused

OK = "ok"
CANCELLED = "cancelled"


def accountant(metrics: Metrics, log: Any) -> Callable[[Account], None]:
    """Counts and logs. Details of refusals and faults go to the log, and nowhere else."""

    def account(call: Account) -> None:
        cancelled = isinstance(call.error, asyncio.CancelledError)
        code = call.status.code.value if call.status else CANCELLED if cancelled else OK
        metrics.call(call.call, code, call.seconds, refusal=call.status is not None and call.status.refusal)
        line = {"rpc": call.call, "peer": call.caller, "code": code, "ms": round(call.seconds * 1000, 2)}
        error = call.error
        # Whoever looks for the reason has the board in hand, not the call.
        of_board = {"work_order": call.subject.work_order, "chip_id": call.subject.chip_id}
        line |= {name: value for name, value in of_board.items() if value is not None}
        if call.status is None:
            log.info("call", **line)
        elif isinstance(error, Refused) and error.code is Code.RATE_LIMITED:
            # As many as a hostile caller likes; metrics and ledger count them, and lines would fill the disk.
            log.debug("call", **line, detail=error.detail)
        elif isinstance(error, Refused):
            log.info("call", **line, detail=error.detail)
        elif isinstance(error, Fault):
            log.error("call", **line, detail=error.detail)
        else:
            log.error("call", **line, exc_info=error)

    return account
