"""One key holder process and the line to it: spawned, greeted, asked, and killed when it is late. Or the line
to a key holder's service, which is connected to and left.

Requests are pipelined. The process answers in order, and a slow operation as soon as it is done
(`keyholder/answers.py`): the deadline is that of the one operation at work. It starts anew with every answer,
and a long queue at a slow token is not taken for a hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from signerd.adapters.keyholder.hardening import bare_environment
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.patience import OperationTime
from signerd.adapters.keyholder.protocol import (
    FrameReader,
    Operation,
    Outcome,
    ProtocolError,
    Setup,
    frame,
    hello_frame,
    read_answer,
    read_greeting,
    setup_frame,
)
from signerd.errors import Code, Fault, Refused, Unavailable, WrongSettings

START_S = 30.0  # to start Python, on a slow machine; the token has a deadline of its own
_GONE_S = 5.0  # a killed process may still wait in a driver
MAX_IN_FLIGHT = 1024  # requests; more than concurrent calls there can be
_PROGRAM = ("-P", "-m", "signerd.adapters.keyholder.process")


_UCRED = struct.Struct("iII")  # struct ucred of unix(7)
_SAID_AT_ONCE = 2_000  # bytes
MAX_SAID = 32_000  # bytes that one process may say; the rest is read and thrown away

# Gets what the process writes to standard error, its PKCS#11 module above all. None: it goes to ours.
Said = Callable[[str], None]


class KeyHolderRefusal(Fault):
    """The guard refused what signerd asked for: a fault of signerd, or an attack on it."""


class SignatureDamaged(Unavailable):
    """The token's keys are the right ones, and what they give is no signature. Of a process that took the
    place of one with damaged signatures: signerd has to end."""


class Channel(asyncio.Protocol):
    """Made by `open_channel`. When it is closed it stays closed."""

    def __init__(
        self, deadline_s: float, said: Said | None = None, operations: OperationTime | None = None
    ) -> None:
        self.closed = asyncio.Event()
        self.overdue = asyncio.Event()  # what is at work takes far longer than any before; or it is closed
        self.answered = asyncio.Event()  # set with each answer, and when it is closed
        self._operations = operations  # None: nobody asks whether it hangs
        self._said = said
        self._listening: asyncio.Task[None] | None = None
        self.reason = "closed"
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._begun = asyncio.Event()  # the process runs, or has ended
        self._greeting: asyncio.Future[tuple[Outcome, str]] = self._loop.create_future()
        self.login_s = 0.0  # what the login took
        self.token_names: tuple[str, ...] = ()  # label and serial number
        self.pin_rejected: str | None = None  # what the token said of the PIN after the login
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None  # None: a service's
        self._pid: int | None = None
        self._waiting: deque[tuple[int, asyncio.Future[object]]] = deque()
        self._number = 0
        self.products_shown: set[bytes] = set()  # to a service, on this line: their SHA-256
        self._unsent: list[bytes] = []
        self._progress_at = 0.0
        self._watch: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    @property
    def pid(self) -> int:
        """Of the process at the other end."""
        if self._pid is None:
            raise Unavailable("the key holder has not started")
        return self._pid

    async def request(self, operation: Operation, *arguments: object) -> object:
        """Asks, and waits for the answer.

        Raises:
            KeyHolderRefusal: the guard refused it.
            Refused: `order_full`: a service may certify no more places of the order.
            Unavailable: the process is gone, late, overloaded, or its token failed.
        """
        if self.closed.is_set() or self._transport is None:
            raise Unavailable("the key holder is being replaced")
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise Unavailable("the key holder has too many requests waiting")
        self._number += 1
        data = frame([self._number, operation, *arguments])
        answered: asyncio.Future[object] = self._loop.create_future()
        if not self._waiting:
            self._progress_at = self._loop.time()
            self._arm()
        self._waiting.append((self._number, answered))
        if not self._unsent:
            # All requests of one turn of the event loop go out in one write.
            self._loop.call_soon(self._flush)
        self._unsent.append(data)
        return await answered

    def _flush(self) -> None:
        if self._transport is not None and not self.closed.is_set():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _arm(self) -> None:
        if self._watch is None:
            self._watch = self._loop.call_at(self._next_look_at(), self._look)

    def _next_look_at(self) -> float:
        may_take_s = self._deadline_s
        if self._operations is not None and not self.overdue.is_set():
            may_take_s = min(may_take_s, self._operations.suspicious_s)
        return self._progress_at + may_take_s

    def _look(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        if self._loop.time() >= self._progress_at + self._deadline_s:
            self.kill(f"no answer within {self._deadline_s:g} s")
            return
        if self._loop.time() >= self._next_look_at():
            self.overdue.set()
        self._arm()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's call: the line is ours."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio's call: answers have come."""
        if self.closed.is_set():
            return
        now = self._loop.time()
        if self._waiting and self._operations is not None:
            self._operations.took(now - self._progress_at)
        self._progress_at = now
        self.overdue.clear()
        self.answered.set()
        try:
            for item in self._reader.feed(data):
                if self._greeting.done():
                    self._take(item)
                else:
                    self._greeted(*read_greeting(item))
        except ProtocolError as error:
            self.kill(f"it does not keep the protocol: {error}")

    def _greeted(self, outcome: Outcome, text: str) -> None:
        if outcome is Outcome.BEGUN and not self._begun.is_set():
            self._begun.set()
        elif outcome is Outcome.FOUND and not self.token_names:
            self.token_names = tuple(text.split("\0", 1))
        else:
            self._greeting.set_result((outcome, text))

    def _take(self, item: object) -> None:
        number, outcome, value = read_answer(item)
        if not self._waiting or self._waiting[0][0] != number:
            raise ProtocolError("an answer to another request")
        _, answered = self._waiting.popleft()
        if not answered.done():  # else its caller has gone
            self._settle(answered, outcome, value)
        if outcome is Outcome.WRONG_PIN:
            self.pin_rejected = str(value)
        if outcome in {
            Outcome.FAILED,
            Outcome.WRONG_PIN,
            Outcome.WRONG_SETTINGS,
        }:  # it is about to end, and takes no more
            self.kill(str(value))

    def _settle(self, answered: asyncio.Future[object], outcome: Outcome, value: object) -> None:
        if outcome is Outcome.DONE:
            answered.set_result(value)
        elif outcome is Outcome.REFUSED:
            answered.set_exception(KeyHolderRefusal(f"the key holder refuses: {value}"))
        elif outcome is Outcome.SHARE_USED:
            answered.set_exception(Refused(Code.ORDER_FULL, f"the key holder's service: {value}"))
        elif outcome is Outcome.UNAVAILABLE:
            answered.set_exception(Unavailable(f"the key holder's service: {value}"))
        elif outcome is Outcome.WRONG_SETTINGS:
            answered.set_exception(WrongSettings(str(value)))
        else:
            answered.set_exception(Unavailable(f"the token failed: {value}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's call: the process is gone."""
        self._end(f"the line broke: {exc}" if exc is not None else "it ended")

    def kill(self, reason: str) -> None:
        """Ends the process at once; what is under way fails as unavailable."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.reason = reason if self.reason == "closed" else self.reason
        self.closed.set()
        self.overdue.set()
        self.answered.set()
        if self._watch is not None:
            self._watch.cancel()
        # A process that hangs in its module notices nothing but this. It holds no state worth keeping.
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._begun.set()
        if not self._greeting.done():
            self._greeting.set_exception(Unavailable(f"the key holder did not start: {self.reason}"))
            self._greeting.exception()  # retrieved here for the case that nobody waits any more
        for _, answered in self._waiting:
            if not answered.done():
                answered.set_exception(Unavailable(f"the key holder was lost: {self.reason}"))
        self._waiting.clear()

    async def start(self, environment: Mapping[str, str]) -> None:
        """Starts the process and connects to it."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # no descriptors left, for the moment
            raise Unavailable(f"cannot start the key holder: {error.strerror}") from error
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *_PROGRAM,
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    # Not our own: a module that writes where nobody reads would hang at its first word.
                    stderr=None if self._said is None else asyncio.subprocess.PIPE,
                    env={**bare_environment(), **environment},
                )
            except OSError as error:
                ours.close()
                raise Unavailable(f"cannot start the key holder: {error.strerror}") from error
            self._pid = self._process.pid
        if self._process.stderr is not None and self._said is not None:
            listening = _listen(self._process.stderr, self._said)
            self._listening = asyncio.create_task(listening, name="key holder's standard error")
        ours.settimeout(0)
        await self._loop.create_connection(lambda: self, sock=ours)

    async def connect(self, path: Path) -> None:
        """Connects to a service's socket. Raises Unavailable: nobody listens there now."""
        try:
            async with asyncio.timeout(START_S):
                line, _ = await self._loop.create_unix_connection(lambda: self, str(path))
        except OSError as error:  # of a timeout too
            raise Unavailable(
                f"the key holder's service does not listen on {path}: {error.strerror or 'no answer'}"
                " (systemctl status signerd-key-holder)"
            ) from error
        found = line.get_extra_info("socket")
        self._pid = _UCRED.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]

    async def log_in(self, setup: Setup, pin: HeldPin, within_s: float) -> None:
        """Sends the settings and waits for the login's outcome. Raises as `open_channel`."""
        outcome, text = await self._greet(setup_frame(setup), within_s)
        if outcome is Outcome.WRONG_PIN:
            raise pin.reject(text, self.token_names)
        if outcome is Outcome.LEFT_ALONE:
            raise pin.leave_alone(text)
        if outcome is not Outcome.DONE:
            kind = {Outcome.WRONG_SETTINGS: WrongSettings, Outcome.DAMAGED: SignatureDamaged}
            raise kind.get(outcome, Unavailable)(f"the key holder did not start: {text}")

    async def introduce(self, named: bytes, within_s: float) -> None:
        """Says to a service whose key is asked for. Raises as `open_service_channel`."""
        try:
            outcome, text = await self._greet(hello_frame(named), within_s)
        except Unavailable as error:
            if not self.closed.is_set():
                raise
            raise Unavailable(
                f"the key holder's service ended the line ({self.reason}): is this user one of"
                " service.clients?"
            ) from error
        if outcome is not Outcome.DONE:
            kind = WrongSettings if outcome is Outcome.WRONG_SETTINGS else Unavailable
            raise kind(f"the key holder's service: {text}")

    async def _greet(self, first: bytes, within_s: float) -> tuple[Outcome, str]:
        if self._transport is None:
            raise Unavailable("the key holder has not started")
        self._transport.write(first)
        try:
            async with asyncio.timeout(START_S):
                await self._begun.wait()
        except TimeoutError as error:
            raise Unavailable(f"the key holder did not start within {START_S:g} s") from error
        begun_s = self._loop.time()
        try:
            async with asyncio.timeout(within_s):
                answer = await self._greeting
        except TimeoutError as error:
            raise Unavailable(f"the token did not finish the login within {within_s:g} s") from error
        self.login_s = self._loop.time() - begun_s
        if self._operations is not None:
            self._operations.logged_in(self.login_s)
        return answer

    async def stop(self) -> None:
        """Ends the process and waits until it is gone; one that the kernel cannot end now is left to it."""
        self.kill("stopped")
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GONE_S):
                    await self._process.wait()
                    if self._listening is not None:
                        await self._listening
        if self._listening is not None:
            self._listening.cancel()


async def open_service_channel(path: Path, named: bytes, *, deadline_s: float, login_s: float) -> Channel:
    """A line to a service, for one key: of an issuer, by its certificate's SHA-256, or of the log, by that of
    its verifier key's text.

    Raises:
        WrongSettings: it has no such key, or takes no calls of this user.
        Unavailable: it does not answer, or its token is not there now.
    """
    channel = Channel(deadline_s)
    try:
        await channel.connect(path)
        await channel.introduce(named, login_s)
    except BaseException:
        await channel.stop()
        raise
    return channel


async def _listen(stream: asyncio.StreamReader, said: Said) -> None:
    """Reads to the end, so that the process never waits; hands on what is within the bound."""
    left = MAX_SAID
    while data := await stream.read(_SAID_AT_ONCE):
        if left > 0:
            said(data.decode(errors="replace").strip())
        left -= len(data)


async def open_channel(
    setup: Setup,
    pin: HeldPin,
    *,
    environment: Mapping[str, str],
    deadline_s: float,
    login_s: float,
    said: Said | None = None,
    operations: OperationTime | None = None,
) -> Channel:
    """A process that is logged in and ready. `setup.pin` is left empty; the PIN comes from `pin`.

    Args:
        deadline_s: of one operation.
        login_s: the deadline of opening the token: to load the module, log in and try the keys.
        operations: what is known of the token's.

    Raises:
        WrongPin: the token rejected the PIN, now or before.
        WrongSettings: the token does not hold what the settings name.
        SignatureDamaged: its keys are the right ones, and what they give is no signature.
        Unavailable: it does not start.
    """
    channel = Channel(deadline_s, said, operations)
    try:
        async with pin.attempt() as value:
            await channel.start(environment)
            await channel.log_in(replace(setup, pin=value), pin, login_s)
    except BaseException:
        await channel.stop()
        raise
    return channel
