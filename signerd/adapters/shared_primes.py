"""The search for RSA keys of the whole history that share a prime, in the background.

Each run reads every RSA certificate, revoked ones too, has a process of its own compare them
(`shared_primes_process`), and enters what is new into the ledger. It revokes nothing: what becomes of a board
that is out is for people to decide (docs/operations.md).

A run that fails is logged and counted, and leaves nothing half done; the next one begins from the start.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from signerd.adapters.background_process import background_process, demand_ended_well
from signerd.adapters.shared_primes_process import LENGTH
from signerd.adapters.store.boards.shared_primes import RsaCertificates
from signerd.errors import Fault

DEADLINE_S = 12 * 3600.0  # at the lowest priority; 100,000 keys take two minutes of an idle core
_PROGRAM = ("-m", "signerd.adapters.shared_primes_process")
_LOGGED = 20  # certificates in one log line; the ledger names them all
_DIGEST_BYTES = 32

_log = structlog.get_logger(__name__)


class History(Protocol):
    """Where the certificates are, and where findings go. `SqlStore` is one."""

    async def rsa_certificates(self, *, after_record_id: int = 0) -> RsaCertificates:
        """A page of them."""
        ...

    async def record_shared_primes(self, certificates: Sequence[bytes], now: datetime) -> int:
        """Enters those that no entry names yet; how many they were."""
        ...


@dataclass(frozen=True, slots=True)
class SharedPrimes:
    """What one run found."""

    finished_at: datetime
    keys: int  # that were compared
    valid: tuple[bytes, ...]  # SHA-256 of certificates whose key shares a prime, and that are not revoked
    revoked: tuple[bytes, ...]  # of those that are
    new: int  # of both, how many no ledger entry named before


@dataclass(frozen=True, slots=True)
class SearchState:
    """Where the search stands."""

    ended: int  # runs since start, failed ones too
    running: bool
    failure: str  # why the last run failed; empty if it did not, or if there was none
    last: SharedPrimes | None  # of the last run that did not fail


class SharedPrimesSearch:
    """One run at a time: by the clock, or when somebody asks."""

    def __init__(
        self,
        history: History,
        *,
        clock: Callable[[], datetime],
        on_end: Callable[[SearchState], None],
    ) -> None:
        """`clock` gives aware UTC moments; `on_end` is called after each run."""
        self._history = history
        self._clock = clock
        self._on_end = on_end
        self._run: asyncio.Task[None] | None = None
        self._repeating: asyncio.Task[None] | None = None
        self._ended = 0
        self._failure = ""
        self._last: SharedPrimes | None = None

    @property
    def state(self) -> SearchState:
        """Where it stands now."""
        running = self._run is not None and not self._run.done()
        return SearchState(self._ended, running, self._failure, self._last)

    def begin(self) -> asyncio.Task[None]:
        """Begins a run, or joins the one that is under way. The task never fails: `state` tells."""
        if self._run is None or self._run.done():
            self._run = asyncio.create_task(self._one_run(), name="search for shared primes")
        return self._run

    def repeat(self, every: timedelta) -> None:
        """Runs now, and again after each pause, until `stop`."""

        async def again_and_again() -> None:
            while True:
                await asyncio.shield(self.begin())
                await asyncio.sleep(every.total_seconds())

        self._repeating = asyncio.create_task(again_and_again(), name="searches for shared primes")

    async def stop(self) -> None:
        """Ends a run that is under way, and its process."""
        for task in (self._repeating, self._run):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))

    async def _one_run(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await self._search()
        except TimeoutError:
            self._failed(f"it did not end within {DEADLINE_S:g} s")
        except Fault as error:
            self._failed(error.detail)
        except Exception as error:  # noqa: BLE001 - a dead task would end all later runs, unheard
            _log.exception("shared_primes_search_fault")
            self._failed(repr(error))
        else:
            self._failure, self._last = "", found
            _tell(found, time.monotonic() - began)
        self._ended += 1
        self._on_end(self.state)

    def _failed(self, detail: str) -> None:
        self._failure = detail
        _log.error("shared_primes_search_failed", detail=detail)

    async def _search(self) -> SharedPrimes:
        revoked: set[bytes] = set()
        keys, found = await _compare(self._certificates(revoked))
        now = self._clock()
        new = await self._history.record_shared_primes(found, now) if found else 0
        return SharedPrimes(
            finished_at=now,
            keys=keys,
            valid=tuple(digest for digest in found if digest not in revoked),
            revoked=tuple(digest for digest in found if digest in revoked),
            new=new,
        )

    async def _certificates(self, revoked: set[bytes]) -> AsyncIterator[list[bytes]]:
        """Pages of certificates, DER; notes which of them are revoked."""
        after, more = 0, True
        while more:
            page = await self._history.rsa_certificates(after_record_id=after)
            after, more = page.last_record_id, page.more
            revoked.update(each.certificate_sha256 for each in page.certificates if each.revoked)
            yield [each.certificate_der for each in page.certificates]


def _tell(found: SharedPrimes, seconds: float) -> None:
    valid = [digest.hex() for digest in found.valid[:_LOGGED]]
    counts = {"keys": found.keys, "valid": len(found.valid), "revoked": len(found.revoked)}
    if found.new:
        _log.error("shared_primes_found", new=found.new, certificates=valid, **counts)
    elif found.valid:
        _log.warning("shared_primes_remain", certificates=valid, **counts)
    _log.info("shared_primes_searched", seconds=round(seconds, 1), **counts)


async def _compare(pages: AsyncIterator[list[bytes]]) -> tuple[int, list[bytes]]:
    """How many keys there are, and the certificates of those that share a prime. Raises Fault."""
    waiting: list[bytes] = []
    async for page in pages:
        waiting += page
        if len(waiting) > 1:
            return await _compare_in_process(waiting, pages)
    return len(waiting), []  # none or one: nothing to compare, and no process for it


async def _compare_in_process(
    first: list[bytes], pages: AsyncIterator[list[bytes]]
) -> tuple[int, list[bytes]]:
    async with background_process(_PROGRAM, "the search") as process:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise Fault("the search has no pipes")
        await _feed(process.stdin, first, pages)
        output, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait()
        demand_ended_well(process, errors, "the search")
        return _report(output)


async def _feed(line: asyncio.StreamWriter, first: list[bytes], pages: AsyncIterator[list[bytes]]) -> None:
    # A process that is gone is noticed by its exit code, which says more than the broken line.
    with suppress(ConnectionError):
        await _write(line, first)
        async for page in pages:
            await _write(line, page)
        line.close()
        await line.wait_closed()


async def _write(line: asyncio.StreamWriter, certificates: list[bytes]) -> None:
    line.writelines(LENGTH.pack(len(certificate)) + certificate for certificate in certificates)
    await line.drain()


def _report(output: bytes) -> tuple[int, list[bytes]]:
    try:
        report = json.loads(output)
        keys, shared = report["keys"], [bytes.fromhex(digest) for digest in report["shared"]]
        denied = [str(each) for each in report["denied"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Fault("the search ended without a report") from error
    if type(keys) is not int or any(len(digest) != _DIGEST_BYTES for digest in shared):
        raise Fault("the search's report is not of its form")
    if denied:
        _log.warning("shared_primes_search_not_in_the_background", denied=denied)
    return keys, shared
