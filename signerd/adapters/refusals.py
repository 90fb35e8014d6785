"""`LedgerRefusals`: refusals as ledger entries, within each peer's share.

Guarantees that noting a refusal never waits, never fails and takes bounded memory, and that no peer can
flood the ledger: within its share each refusal is an entry of its own; beyond it they are folded into
one entry a peer, call and code, written each minute and at the end. A peer is who the operations CA says
in the caller's certificate, registered or not; callers whose certificate names nobody share one share.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from signerd.core.entry import RefusedCall
from signerd.errors import ClockWrong, Fault, Refused

FOLD_S = 60.0  # how often folded refusals are entered
_SHARES = 4_096  # peers whose share is remembered; the one unused for longest is forgotten first
_MAX_PENDING = 4_096  # single entries waiting for the store; beyond it they are folded
_MAX_FOLDED = 16_384  # folded entries waiting; beyond it they are folded under no peer's name

_Kind = tuple[str | None, str, str]  # peer, call, code

_log = structlog.get_logger(__name__)


class RefusalSink(Protocol):
    """Where the entries go: `SqlStore`."""

    async def append_refusals(self, refusals: Sequence[RefusedCall]) -> None:
        """Enters them in one transaction."""
        ...


class LedgerRefusals:
    """Implements `signerd.ports.RefusalLog`. Lives on the event loop: `start()`, then `await close()`."""

    def __init__(
        self,
        sink: RefusalSink,
        *,
        refusals_per_h: int,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refusals_per_h` is each peer's share; `clock` gives aware UTC moments, `monotonic` seconds."""
        self._sink = sink
        self._per_h = refusals_per_h
        self._clock = clock
        self._monotonic = monotonic
        self._shares: OrderedDict[str | None, tuple[float, float]] = OrderedDict()
        self._pending: list[RefusedCall] = []
        self._folded: Counter[_Kind] = Counter()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failed_writes = 0  # for metrics

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._write_always(), name="refusals")

    async def close(self) -> None:
        """Writes all that is noted and stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.flush()

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
        """See `signerd.ports.RefusalLog`."""
        moment = self._moment()
        if len(self._pending) >= _MAX_PENDING or not self._within_share(peer) or moment is None:
            self._fold((peer, call, code), 1)
            return
        self._pending.append(
            RefusedCall(
                time=moment,
                peer=peer,
                call=call,
                code=code,
                count=1,
                work_order=work_order,
                chip_id=chip_id,
                csr_sha256=csr_sha256,
            )
        )
        self._wanted.set()

    async def flush(self) -> None:
        """Enters all that is noted, the folded ones too."""
        now = self._moment()
        if now is None:
            _log.error("refusals_wait_for_the_clock", count=self._folded.total() + len(self._pending))
            return
        folded, self._folded = self._folded, Counter()
        for (peer, call, code), count in folded.items():
            self._pending.append(
                RefusedCall(
                    time=now,
                    peer=peer,
                    call=call,
                    code=code,
                    count=count,
                    work_order=None,
                    chip_id=None,
                    csr_sha256=None,
                )
            )
        await self._write_pending()

    def _moment(self) -> datetime | None:
        """The time; None while it is not certain: what is refused meanwhile waits in its folded form."""
        try:
            return self._clock()
        except ClockWrong:
            return None

    def _within_share(self, peer: str | None) -> bool:
        """Takes one from the peer's share, a bucket that fills over an hour."""
        now = self._monotonic()
        left, at = self._shares.pop(peer, (float(self._per_h), now))
        left = min(float(self._per_h), left + (now - at) * self._per_h / 3600.0)
        within = left >= 1.0
        self._shares[peer] = (left - 1.0 if within else left, now)
        if len(self._shares) > _SHARES:
            self._shares.popitem(last=False)
        return within

    def _fold(self, kind: _Kind, count: int) -> None:
        if kind not in self._folded and len(self._folded) >= _MAX_FOLDED:
            kind = (None, kind[1], kind[2])
        self._folded[kind] += count

    async def _write_always(self) -> None:
        due = self._monotonic() + FOLD_S
        while True:
            try:
                async with asyncio.timeout(max(0.0, due - self._monotonic())):
                    await self._wanted.wait()
            except TimeoutError:
                due = self._monotonic() + FOLD_S
                await self.flush()
            else:
                await self._write_pending()

    async def _write_pending(self) -> None:
        """A crash before this commits loses what is noted: refusals, by which nobody got anything."""
        self._wanted.clear()
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            await self._sink.append_refusals(pending)
        except (Fault, Refused) as error:
            self.failed_writes += 1
            _log.error("refusals_not_entered", count=len(pending), detail=error.detail)
            for refusal in pending:  # kept, in their folded form, for the next minute
                self._fold((refusal.peer, refusal.call, refusal.code), refusal.count)
