"""The socket of a key holder's service: who may connect, what is asked, what is looked at before it signs.

Whoever has signerd's user, files and socket is at the other end. What comes is bounded and read strictly; the
peer gets a refusal in a line, our log the reason, within a bound. A connection serves one issuer's key, and
ends when that key's token is not there: signerd then knows that it does not serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from signerd.adapters.keyholder.channel import MAX_IN_FLIGHT, KeyHolderRefusal
from signerd.adapters.keyholder.guard import Guard, SigningRefusedError
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.adapters.keyholder.protocol import (
    MAX_FRAME,
    FrameReader,
    Operation,
    Outcome,
    ProtocolError,
    frame,
    read_hello,
    read_request,
)
from signerd.adapters.keyholder.service import noted_approvals, notes
from signerd.adapters.keyholder.service.approved import take_in
from signerd.adapters.keyholder.service.noted_leaves import note_leaf
from signerd.adapters.keyholder.service.noted_orders import add_product, close_order
from signerd.adapters.keyholder.service.notes import Notes
from signerd.adapters.rate_limit import Rate, RateLimiter
from signerd.core import note
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.sshsig import MAX_ARMORED
from signerd.core.approval.statement import MAX_STATEMENT
from signerd.core.approval.verify import MAX_SIGNATURES, Installation
from signerd.core.approved_order import IssuerOfCa, LeafRefusedError, ShareUsedError, check_leaf
from signerd.core.leaf import Leaf
from signerd.core.names import MacKey, MacQuestion
from signerd.core.product import MAX_PRODUCT_BYTES, Product, parse_product
from signerd.errors import Fault, Refused, Unavailable

HELLO_S = 10.0
MAX_CONNECTIONS = 128  # of all clients together
MAX_HELD = 4 * MAX_FRAME  # bytes of requests without an answer, of all lines together
MAX_DETAIL = 2_000  # characters of a reason
_READ = 65_536  # bytes at once
_UCRED = struct.Struct("iII")  # struct ucred of unix(7)
_LOGGED = Rate(1.0, 100)  # refusals in the log
_REFUSALS = (ApprovalError, LeafRefusedError, SigningRefusedError, KeyHolderRefusal, Refused)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key: its processes; where it is an issuer's, the look at what they sign, and its CA."""

    pool: KeyHolderPool
    guard: Guard | None = None  # None: of the log, beyond the first
    issuer: IssuerOfCa | None = None  # likewise
    lines: set[Line] = field(default_factory=set)  # those that are served

    def changed(self) -> None:
        """Whether it serves may have changed: lines to a token that is away end."""
        if not self.pool.serving:
            for line in list(self.lines):
                line.end()


@dataclass(frozen=True, slots=True)
class Holder:
    """What the lines share."""

    installation: Installation
    notes: Notes
    keys: Mapping[bytes, HeldKey]  # by the certificate's SHA-256
    clients: frozenset[int]  # uids
    said: RateLimiter = field(default_factory=lambda: RateLimiter(time.monotonic))
    room: Room = field(default_factory=lambda: Room(MAX_HELD))

    def refused(self, operation: str, detail: str) -> None:
        """Logs it, within a bound."""
        if self.said.take(b"refused", _LOGGED):
            _log.warning("refused", operation=operation[:32], detail=detail[:MAX_DETAIL])

    def ended(self, error: BaseException) -> None:
        """Logs why a line ended, within a bound."""
        if self.said.take(b"ended", _LOGGED):
            _log.warning("line_ended", detail=f"{type(error).__name__}: {error}"[:500])

    def fault(self, operation: str, error: Exception) -> None:
        """Logs what is nobody's doing but ours, within a bound."""
        if self.said.take(b"fault", _LOGGED):
            detail = error.detail if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
            _log.error("fault", operation=operation[:32], detail=detail[:MAX_DETAIL])


class Room:
    """Bytes of requests that all lines together hold, and a bound on them."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> None:
        """Raises ProtocolError: there is no room for them now."""
        if count > self._left:
            raise ProtocolError("more bytes of requests at once than there is room for")
        self._left -= count

    def give(self, count: int) -> None:
        """They were answered, or their line ended."""
        self._left += count


class Line:
    """One connection."""

    def __init__(self, holder: Holder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._holder = holder
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._ended = False
        self._held = 0  # bytes of the holder's room
        self._unasked = 0  # those of them that no request took over yet
        self._answers: asyncio.Queue[tuple[asyncio.Task[bytes], int]] = asyncio.Queue(MAX_IN_FLIGHT)

    def end(self) -> None:
        """Closes it; what is under way is not answered."""
        self._ended = True
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Until the peer closes it, breaks the protocol, or the token is away."""
        try:
            await self._serve()
        finally:
            self._give(self._held)

    async def _serve(self) -> None:
        async with asyncio.timeout(HELLO_S):
            items = await self._items()
        if not items:
            return
        first, *more = items
        named = read_hello(first)
        key = self._holder.keys.get(named)
        await self._send(frame([Outcome.BEGUN, "hello"]))
        if key is None:
            await self._send(
                frame([Outcome.WRONG_SETTINGS, f"it has no key with the SHA-256 {named.hex()[:64]}"])
            )
            return
        if not key.pool.serving:
            await self._send(frame([Outcome.FAILED, "its token is not there now"]))
            return
        await self._send(frame([Outcome.DONE, "ready"]))
        key.lines.add(self)
        asking = asyncio.create_task(self._ask(Asked(self._holder, key, named), more), name="requests")
        answering = asyncio.create_task(self._answer(), name="answers")
        try:
            done, _ = await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            key.lines.discard(self)
            asking.cancel()
            answering.cancel()
            await asyncio.wait((asking, answering))
            while not self._answers.empty():
                self._answers.get_nowait()[0].cancel()
        for task in done:
            task.result()

    async def _ask(self, asked: Asked, items: list[object]) -> None:
        while not self._ended:
            for item in items:
                number, operation, arguments = read_request(item)
                work = asked.answer(number, operation, arguments)
                # Bounded: one more is read when one was answered. The last of several has the bytes of all.
                size = self._unasked if item is items[-1] else 0
                self._unasked -= size
                await self._answers.put((asyncio.create_task(work, name=operation[:32]), size))
            items = await self._items()
            if not items:
                return

    async def _answer(self) -> None:
        """In the order of the requests."""
        while True:
            task, size = await self._answers.get()
            await self._send(await task)
            self._give(size)

    async def _items(self) -> list[object]:
        """The next complete items; none at the end."""
        while data := await self._reader.read(_READ):
            self._holder.room.take(len(data))
            self._held += len(data)
            self._unasked += len(data)
            if items := self._frames.feed(data):
                return items
        return []

    def _give(self, count: int) -> None:
        self._holder.room.give(count)
        self._held -= count

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@dataclass(frozen=True, slots=True)
class Asked:
    """What one line may ask."""

    holder: Holder
    key: HeldKey
    issuer_sha256: bytes

    async def answer(self, number: int, operation: str, arguments: list[object]) -> bytes:
        """The answer's frame."""
        work = _OPERATIONS.get(operation, Asked.unknown)
        try:
            return frame([number, Outcome.DONE, await work(self, arguments)])
        except ShareUsedError as error:
            return frame([number, Outcome.SHARE_USED, str(error)])
        except _REFUSALS as error:
            self.holder.refused(operation, str(error))
            return frame([number, Outcome.REFUSED, str(error)[:MAX_DETAIL]])
        except Unavailable as error:
            return frame([number, Outcome.UNAVAILABLE, error.detail])
        except Exception as error:  # noqa: BLE001 -- whatever a peer finds, its line and the others go on
            self.holder.fault(operation, error)
            return frame([number, Outcome.UNAVAILABLE, "a fault of the key holder's: its log says more"])

    async def unknown(self, arguments: list[object]) -> None:
        """In the place of every other operation."""
        raise SigningRefusedError(f"no such operation of a service, with {len(arguments)} arguments")

    async def sign_certificate(self, arguments: list[object]) -> bytes:
        """The certificate of an approved order's place, noted before it is signed."""
        tbs, leaf = _tbs_and_leaf(arguments)
        now, guard, issuer = datetime.now(UTC), self.key.guard, self.key.issuer
        approved = self.holder.notes.approved
        if guard is None or issuer is None:
            raise SigningRefusedError("this key signs checkpoints alone")
        guard.check_certificate(tbs, now)

        def unit(connection: Connection) -> None:
            if not approved.asked(connection):
                return  # no orders are approved here: its guard is what there is
            if leaf is None:
                raise LeafRefusedError("it is not said which order the certificate is of")
            order = approved.order(connection, leaf.place.work_order)
            self._check_active(connection, order.product)
            check_leaf(tbs, leaf, order.approved, order.product, issuer, now)
            note_leaf(
                connection,
                tbs,
                leaf,
                order.approved,
                share=order.share,
                issuer_sha256=self.issuer_sha256,
            )

        # Durable before it is signed: after a crash the same bytes are signed again, and no others.
        await self.holder.notes.note(unit)
        return await self.key.pool.sign_certificate(tbs)

    def _check_active(self, connection: Connection, product: Product) -> None:
        ca = product.certificate.ca
        active = self.holder.notes.approved.active(connection, ca) or self._first_of(ca)
        if active != self.issuer_sha256:
            raise LeafRefusedError(f"this issuer is not the active one of CA {ca}")

    def _first_of(self, ca: str) -> bytes | None:
        """Whoever stands first in the settings."""
        issuers = ((each, key.issuer) for each, key in self.holder.keys.items())
        return next((each for each, issuer in issuers if issuer is not None and issuer.ca == ca), None)

    async def sign_crl(self, arguments: list[object]) -> bytes:
        """Its process has a look of its own."""
        (tbs,) = _bytes(arguments, 1)
        return await self.key.pool.sign_crl(tbs)

    async def sign_checkpoint(self, arguments: list[object]) -> bytes:
        """Never of a log that was put back."""
        (body,) = _bytes(arguments, 1)
        try:
            checkpoint = note.parse_checkpoint(body)
        except ValueError as error:
            raise SigningRefusedError(f"no checkpoint: {error}") from error
        if checkpoint.origin != note.parse_vkey(self.holder.installation.log).name:
            raise SigningRefusedError("a checkpoint of another log")
        await self.holder.notes.note(lambda connection: notes.note_checkpoint(connection, checkpoint))
        return await self.key.pool.sign_checkpoint(body)

    async def check_chip_mac(self, arguments: list[object]) -> bool:
        """True or False, as a process of signerd's own would say."""
        match arguments:
            case [str(chip_id), str(kind), str(hash_name), bytes(message), bytes(mac)]:
                try:
                    question = MacQuestion(chip_id, MacKey(kind), hash_name, message, mac)
                except ValueError as error:
                    raise SigningRefusedError("no such key") from error
                return await self.key.pool.check_chip_mac(question)
            case _:
                raise SigningRefusedError("check_chip_mac takes five arguments")

    async def session_key(self, arguments: list[object]) -> bytes:
        """Of the days around now alone: its process looks."""
        match arguments:
            case [int(day), int(era)]:
                return await self.key.pool.session_key(day, era)
            case _:
                raise SigningRefusedError("session_key takes a day and an era")

    async def show_approval(self, arguments: list[object]) -> bool:
        """Takes in what administrators approved."""
        text, *signatures = _bytes(arguments, len(arguments) or 1)
        if len(text) > MAX_STATEMENT or len(signatures) > MAX_SIGNATURES:
            raise SigningRefusedError("larger than an approval may be")
        if any(len(each) > MAX_ARMORED for each in signatures):
            raise SigningRefusedError("larger than a signature may be")
        now, installation = datetime.now(UTC), self.holder.installation
        return await self.holder.notes.do(
            lambda connection: take_in(connection, text, signatures, installation=installation, now=now)
        )

    async def show_product(self, arguments: list[object]) -> None:
        """Keeps the revision of a product that an approved order names."""
        match arguments:
            case [str(text)] if len(text) <= MAX_PRODUCT_BYTES:

                def unit(connection: Connection) -> None:
                    if noted_approvals.in_force(connection).asked:
                        add_product(connection, text)
                        parse_product(text)

                await self.holder.notes.do(unit)
            case _:
                raise SigningRefusedError("show_product takes a product's file")

    async def close_order(self, arguments: list[object]) -> None:
        """Nothing more is signed for it."""
        match arguments:
            case [str(work_order)]:
                await self.holder.notes.do(lambda connection: close_order(connection, work_order))
            case _:
                raise SigningRefusedError("close_order takes a work order")


_OPERATIONS: dict[str, Callable[[Asked, list[object]], Awaitable[object]]] = {
    Operation.SIGN_CERTIFICATE: Asked.sign_certificate,
    Operation.SIGN_CRL: Asked.sign_crl,
    Operation.SIGN_CHECKPOINT: Asked.sign_checkpoint,
    Operation.CHECK_CHIP_MAC: Asked.check_chip_mac,
    Operation.SESSION_KEY: Asked.session_key,
    Operation.SHOW_APPROVAL: Asked.show_approval,
    Operation.SHOW_PRODUCT: Asked.show_product,
    Operation.CLOSE_ORDER: Asked.close_order,
}


def _bytes(arguments: list[object], count: int) -> list[bytes]:
    found = [argument for argument in arguments if isinstance(argument, bytes)]
    if len(found) != count or len(arguments) != count:
        raise SigningRefusedError("an argument is missing or not of its type")
    return found


def _tbs_and_leaf(arguments: list[object]) -> tuple[bytes, Leaf | None]:
    match arguments:
        case [bytes(tbs), None]:
            return tbs, None
        case [bytes(tbs), dict(leaf)]:
            try:
                return tbs, Leaf.read(leaf)
            except ValueError as error:
                raise SigningRefusedError(str(error)) from error
        case _:
            raise SigningRefusedError("sign_certificate takes a TBSCertificate and what it is for")


class Listener:
    """The socket. Start it when all keys are there."""

    def __init__(self, holder: Holder, path: Path) -> None:
        self._holder = holder
        self._path = path
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[Any]] = set()

    async def start(self, bound: socket.socket) -> None:
        """Serves on a socket of `bind`."""
        self._server = await asyncio.start_unix_server(self._connected, sock=bound)

    async def stop(self) -> None:
        """No more connections; those that are there end."""
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.cancel()
        if self._lines:
            await asyncio.wait(self._lines)
        with contextlib.suppress(FileNotFoundError):  # somebody took it away
            self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Called as a task of its own.
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine runs in one
        self._lines.add(task)
        try:
            if self._may(writer):
                await Line(self._holder, reader, writer).serve()
        except Exception as error:  # noqa: BLE001 -- of the peer, whatever it is: it ends its own line
            self._holder.ended(error)
        finally:
            self._lines.discard(task)
            writer.transport.abort()

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        line = writer.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in self._holder.clients:
            self._holder.refused("connect", f"user {uid} is none of service.clients")
            return False
        if len(self._lines) > MAX_CONNECTIONS:
            self._holder.refused("connect", f"more than {MAX_CONNECTIONS} connections")
            return False
        return True


def bind(path: Path) -> socket.socket:
    """A socket that everybody may connect to: who they are is looked at then.

    Raises:
        OSError: another one listens there, or it cannot be made.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    if path.exists() and not path.is_socket():
        raise OSError(errno.EEXIST, f"{path} is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # of a service that was killed
        except FileNotFoundError:
            return
        else:
            raise OSError(errno.EADDRINUSE, f"another key holder listens on {path}")
