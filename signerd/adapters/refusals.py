"""`LedgerRefusals`: refusals as ledger entries, within shares (docs/adr/0018).

Guarantees that noting a refusal never waits, never fails and takes bounded memory, and that no peer can
flood the ledger: within its share each refusal is an entry of its own; beyond it they are folded into one
entry a peer, call and code, written each minute and at the end.

There is a share for each key and each code. No noise of another code, of another station or of the revoked
key of the same station takes from it, and what waits to be written is bounded in two parts: refusals of
evidence and stamps (`ATTACKS`), by which an attack shows, have a part that no other code can fill.

Only keys that the registry holds as valid come here: the gate counts all others.
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
from signerd.errors import ClockWrong, Code, Fault, Refused

FOLD_S = 60.0  # how often folded refusals are entered
_SHARES = 16_384  # shares remembered; the one unused for longest is forgotten first, and is whole again
_MAX_PENDING = 4_096  # single entries waiting for the store, of attacks and of others; the rest is folded
_MAX_FOLDED = 8_192  # folded entries waiting, likewise; beyond it they are folded under no peer's name

# What only bad evidence or a bad stamp is answered with.
ATTACKS = frozenset(
    {
        Code.KEY_ALREADY_CERTIFIED,
        Code.EVIDENCE_REJECTED,
        Code.LEVEL_INSUFFICIENT,
        Code.FIRMWARE_TOO_OLD,
        Code.FIRMWARE_DIFFERS,
        Code.CHIP_ALREADY_CERTIFIED,
        Code.STAMP_REJECTED,
        Code.STAMP_LOCKS_OPEN,
        Code.STAMP_CONFLICT,
    }
)

_Share = tuple[bytes, str]  # SHA-256 of the peer's public key, code
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
        """`refusals_per_h` is each share; `clock` gives aware UTC moments, `monotonic` seconds."""
        self._sink = sink
        self._per_h = refusals_per_h
        self._clock = clock
        self._monotonic = monotonic
        self._shares: OrderedDict[_Share, tuple[float, float]] = OrderedDict()
        self._attacks, self._others = _Noted(), _Noted()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failed_writes = 0  # for metrics

    def limit(self, refusals_per_h: int) -> None:
        """Another size of each share, from now on."""
        self._per_h = refusals_per_h

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
        key: bytes,
        peer: str | None,
        call: str,
        code: str,
        work_order: str | None = None,
        chip_id: str | None = None,
        csr_sha256: bytes | None = None,
        agent: str | None = None,
    ) -> None:
        """See `signerd.ports.RefusalLog`."""
        noted, moment = self._noted(code), self._moment()
        if len(noted.pending) >= _MAX_PENDING or not self._within_share((key, code)) or moment is None:
            noted.fold((peer, call, code), 1)
            return
        noted.pending.append(
            RefusedCall(
                time=moment,
                peer=peer,
                call=call,
                code=code,
                count=1,
                work_order=work_order,
                chip_id=chip_id,
                csr_sha256=csr_sha256,
                agent=agent,
            )
        )
        self._wanted.set()

    async def flush(self) -> None:
        """Enters all that is noted, the folded ones too."""
        now = self._moment()
        if now is None:
            count = self._attacks.count() + self._others.count()
            _log.error("refusals_wait_for_the_clock", count=count)
            return
        for noted in (self._attacks, self._others):
            noted.unfold(now)
        await self._write_pending()

    def _moment(self) -> datetime | None:
        """The time; None while it is not certain: what is refused meanwhile waits in its folded form."""
        try:
            return self._clock()
        except ClockWrong:
            return None

    def _noted(self, code: str) -> _Noted:
        return self._attacks if code in ATTACKS else self._others

    def _within_share(self, share: _Share) -> bool:
        """Takes one from the share, a bucket that fills over an hour."""
        now = self._monotonic()
        left, at = self._shares.pop(share, (float(self._per_h), now))
        left = min(float(self._per_h), left + (now - at) * self._per_h / 3600.0)
        within = left >= 1.0
        self._shares[share] = (left - 1.0 if within else left, now)
        if len(self._shares) > _SHARES:
            self._shares.popitem(last=False)
        return within

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
        pending = [*self._attacks.take(), *self._others.take()]
        if not pending:
            return
        try:
            await self._sink.append_refusals(pending)
        except (Fault, Refused) as error:
            self.failed_writes += 1
            _log.error("refusals_not_entered", count=len(pending), detail=error.detail)
            for refusal in pending:  # kept, in their folded form, for the next minute
                self._noted(refusal.code).fold((refusal.peer, refusal.call, refusal.code), refusal.count)


class _Noted:
    """What waits to be written: single refusals, and folded ones."""

    def __init__(self) -> None:
        self.pending: list[RefusedCall] = []
        self.folded: Counter[_Kind] = Counter()

    def fold(self, kind: _Kind, count: int) -> None:
        """Counts refusals of one peer, call and code."""
        if kind not in self.folded and len(self.folded) >= _MAX_FOLDED:
            kind = (None, kind[1], kind[2])
        self.folded[kind] += count

    def unfold(self, now: datetime) -> None:
        """Makes one refusal of each kind, with its count."""
        folded, self.folded = self.folded, Counter()
        self.pending += [
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
            for (peer, call, code), count in folded.items()
        ]

    def count(self) -> int:
        """The refusals that wait."""
        return len(self.pending) + self.folded.total()

    def take(self) -> list[RefusedCall]:
        """The single refusals, to be written now."""
        taken, self.pending = self.pending, []
        return taken
