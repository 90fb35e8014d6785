"""One metric and one log line for each call, within each caller's share of lines; for calls beyond it, and
for those that may write nothing, one line a minute for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from signerd.adapters.metrics import Metrics
from signerd.adapters.rate_limit import Rate, RateLimiter
from signerd.adapters.rpc.gate import Account
from signerd.errors import Fault, Refused, Unrecorded

OK = "ok"
CANCELLED = "cancelled"
# Lines of one caller: what a station may call by default. An auditor that reads the whole ledger has fewer.
LINES = Rate(calls_per_s=20.0, burst=1000)
SUMMARY_S = 60.0  # between two lines that say how many calls had none
NAMED = 5  # callers that such a line names: those that were refused most
_CALLERS = 64  # callers that are told apart between two such lines
_OTHERS = "others"
_NOBODY = "nobody"  # a certificate without a peer's name


class UnrecordedCalls:
    """Counts calls that have no line, and says how much that was: at most one line each `SUMMARY_S`.

    Lives on the event loop. `close` says what is left.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._codes: Counter[str] = Counter()
        self._callers: Counter[str] = Counter()
        self._due: asyncio.TimerHandle | None = None

    def note(self, call: Account, code: str) -> None:
        """One call more."""
        self._codes[code] += 1
        caller = call.caller or _NOBODY
        known = caller in self._callers or len(self._callers) < _CALLERS
        self._callers[caller if known else _OTHERS] += 1
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(SUMMARY_S, self._say)

    def close(self) -> None:
        """Says what was counted since the last line."""
        if self._due is not None:
            self._due.cancel()
            self._say()

    def _say(self) -> None:
        self._due = None
        codes, self._codes = self._codes, Counter()
        callers, self._callers = self._callers, Counter()
        self._log.info("calls_unrecorded", codes=dict(codes), callers=dict(callers.most_common(NAMED)))


def accountant(
    metrics: Metrics, log: Any, unrecorded: UnrecordedCalls, lines: RateLimiter
) -> Callable[[Account], None]:
    """Counts and logs; `lines` keeps the callers' shares. Details of refusals and faults go to the log, and
    nowhere else."""

    def account(call: Account) -> None:
        cancelled = isinstance(call.error, asyncio.CancelledError)
        code = call.status.code.value if call.status else CANCELLED if cancelled else OK
        metrics.call(call.call, code, call.seconds, refusal=call.status is not None and call.status.refusal)
        error = call.error
        if isinstance(error, Unrecorded) or not lines.take((call.caller or _NOBODY).encode(), LINES):
            # As many as a hostile caller likes: a line for each would fill the disk.
            unrecorded.note(call, code)
            return
        line = {"rpc": call.call, "peer": call.caller, "code": code, "ms": round(call.seconds * 1000, 2)}
        # Whoever looks for the reason, or for what became of a session, has the board in hand, not the call.
        subject = call.subject
        said = {"work_order": subject.work_order, "chip_id": subject.chip_id, "agent": subject.agent}
        line |= {name: value for name, value in said.items() if value is not None}
        if call.status is None:
            log.info("call", **line)
        elif isinstance(error, Refused):
            log.info("call", **line, detail=error.detail)
        elif isinstance(error, Fault):
            log.error("call", **line, detail=error.detail)
        else:
            log.error("call", **line, exc_info=error)

    return account
