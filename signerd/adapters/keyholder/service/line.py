"""One connection to a key holder's service: read strictly, within bounds, answered in the order of requests.

It serves one key, and ends when that key's token is not there: signerd then knows that it does not serve.
"""

from __future__ import annotations

import asyncio

from signerd.adapters.caller import CALLER
from signerd.adapters.keyholder.protocol import FrameReader, Outcome, frame, read_hello, read_request
from signerd.adapters.keyholder.service.held import HeldKey, Holder
from signerd.adapters.keyholder.service.operations import Asked
from signerd.adapters.keyholder.turns import MOST_AHEAD

HELLO_S = 10.0
_READ = 65_536  # bytes at once
# Requests of one line at once: what signerd hands on of certificates and of MACs, and what goes beside its
# queue. More wait in the socket: no line's crowd stands before another's next one.
_AT_WORK = 2 * MOST_AHEAD + 8


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
        self._answers: asyncio.Queue[tuple[asyncio.Task[bytes], int]] = asyncio.Queue(_AT_WORK)

    def end(self) -> None:
        """Closes it; what is under way is not answered."""
        self._ended = True
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Until the peer closes it, breaks the protocol, or the token is away."""
        CALLER.set(f"line {id(self)}")  # of this task and those that it starts: lines take turns at the token
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
        key = await self._greet(named)
        if key is None:
            return
        key.lines.add(self.end)
        try:
            if not key.pool.serving:  # it went away while the greeting was taken
                return
            await self._work(Asked(self._holder, key, named), more)
        finally:
            key.lines.discard(self.end)

    async def _greet(self, named: bytes) -> HeldKey | None:
        """The key that is asked for; None: the peer was told why it is not served."""
        key = self._holder.keys.get(named)
        await self._send(frame([Outcome.BEGUN, "hello"]))
        if key is None:
            text = f"it has no key with the SHA-256 {named.hex()[:64]}"
            await self._send(frame([Outcome.WRONG_SETTINGS, text]))
            return None
        if not key.pool.serving:
            await self._send(frame([Outcome.FAILED, "its token is not there now"]))
            return None
        await self._send(frame([Outcome.DONE, "ready"]))
        return key

    async def _work(self, asked: Asked, items: list[object]) -> None:
        asking = asyncio.create_task(self._ask(asked, items), name="requests")
        answering = asyncio.create_task(self._answer(), name="answers")
        try:
            done, _ = await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
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
