"""`KeyChecks`: the quality of RSA keys, looked at in a process of its own, on the account of the sender.

To find out that an RSA-4096 key is none that anyone can factor takes some 30 ms of CPU, and a key costs its
sender nothing. Guarantees that no other call waits for it: the event loop hands the key over, stations take
turns, and each has a budget of CPU (`BUDGET`) from which a check is taken by its cost before it begins. A
budget that is spent, or too many checks that wait, is `rate_limited`.

The process holds nothing but the keys that it is asked about. If it dies or does not answer, the call it was
about gets `unavailable`, nothing was issued for it, and the next check starts another process.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from signerd.adapters.key_quality_process import LENGTH
from signerd.adapters.keyholder.hardening import bare_environment
from signerd.adapters.rate_limit import Rate, RateLimiter
from signerd.core.key_policy import WeakKeyError
from signerd.errors import Code, Unavailable, Unrecorded

# Seconds of CPU a second for each station's key, and at once after a pause: 4 RSA-4096 keys a second, or 25
# of 2048 bits. A board takes seconds to make one.
BUDGET = Rate(calls_per_s=0.1, burst=1.0)
WAITING = 16  # checks of one payer that may wait for their turn
DEADLINE_S = 10.0  # for one check, the start of the process included
_COST_S = (
    (2048, 0.004),
    (3072, 0.01),
    (4096, 0.025),
)  # by the modulus's bits; measured, and half as much again
_KNOWN = 256  # keys found good that are remembered: the same few CAs stand in the chains of all boards
_RESTART_S = 1.0  # between two starts: a key that kills the process may not have us start it all day
_PROGRAM = ("-P", "-m", "signerd.adapters.key_quality_process")
_SAID = 500  # characters of the process's last words in our log

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Check:
    """One that waits: the modulus, and who wants to know the finding ("" for none)."""

    modulus: int
    finding: asyncio.Future[str]


class KeyChecks:
    """Lives on the event loop. `start` before the first check, `stop` at the end."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds."""
        self._budgets = RateLimiter(monotonic)
        self._monotonic = monotonic
        self._started_at = -_RESTART_S
        self._waiting: OrderedDict[bytes, deque[_Check]] = OrderedDict()
        self._some = asyncio.Event()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to take checks; a process is started for the first one."""
        self._task = asyncio.get_running_loop().create_task(self._check_always(), name="key checks")

    async def stop(self) -> None:
        """Ends the process. Checks that wait are `unavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._end()
        for checks in self._waiting.values():
            for check in checks:
                _answer(check, Unavailable("signerd stops"))
        self._waiting.clear()

    async def check(self, keys: Sequence[rsa.RSAPublicKey], payer: bytes) -> None:
        """See `signerd.ports.KeyQuality`."""
        for key in keys:
            modulus = key.public_numbers().n
            digest = hashlib.sha256(modulus.to_bytes((key.key_size + 7) // 8)).digest()
            if digest in self._known:
                self._known.move_to_end(digest)
                continue
            if finding := await self._in_turn(modulus, payer):
                raise WeakKeyError(finding)
            self._known[digest] = None
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    async def _in_turn(self, modulus: int, payer: bytes) -> str:
        checks = self._waiting.get(payer, ())
        if len(checks) >= WAITING:
            raise Unrecorded(Code.RATE_LIMITED, f"{WAITING} keys wait to be looked at")
        if not self._budgets.take(payer, BUDGET, cost_s(modulus.bit_length())):
            raise Unrecorded(Code.RATE_LIMITED, "the budget for looking at keys is spent")
        check = _Check(modulus, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(payer, deque()).append(check)
        self._some.set()
        return await check.finding

    async def _check_always(self) -> None:
        while True:
            await self._some.wait()
            check = self._next()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    finding = await self._ask(check.modulus)
            except (OSError, EOFError, TimeoutError) as error:
                _log.error("key_check_failed", error=repr(error), said=await self._end())
                _answer(check, Unavailable("the process that looks at keys does not answer"))
            except asyncio.CancelledError:
                _answer(check, Unavailable("signerd stops"))
                raise
            else:
                _answer(check, finding)

    def _next(self) -> _Check:
        """The payers take turns, so that nobody waits for all that another one sent."""
        payer, checks = self._waiting.popitem(last=False)
        check = checks.popleft()
        if checks:
            self._waiting[payer] = checks
        if not self._waiting:
            self._some.clear()
        return check

    async def _ask(self, modulus: int) -> str:
        """What the process finds. Raises OSError, EOFError."""
        process = await self._running()
        if process.stdin is None or process.stdout is None:
            raise EOFError("no pipes")
        data = modulus.to_bytes((modulus.bit_length() + 7) // 8)
        process.stdin.write(LENGTH.pack(len(data)) + data)
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ended")
        return line.decode().strip()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            await asyncio.sleep(max(0.0, self._started_at + _RESTART_S - self._monotonic()))
            self._started_at = self._monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *_PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=bare_environment(),
            )
            _log.info("key_checks_process", pid=self._process.pid)
        return self._process

    async def _end(self) -> str:
        """Ends the process, and returns its last words."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with suppress(ProcessLookupError):
            process.kill()
        _, errors = await process.communicate()
        return errors.decode(errors="replace").strip()[-_SAID:]


def cost_s(bits: int) -> float:
    """Seconds of CPU that a check of an RSA key of this size takes."""
    return next((cost for size, cost in _COST_S if bits <= size), _COST_S[-1][1])


def _answer(check: _Check, outcome: str | Unavailable) -> None:
    if check.finding.done():  # whoever asked went away
        return
    if isinstance(outcome, str):
        check.finding.set_result(outcome)
    else:
        check.finding.set_exception(outcome)
