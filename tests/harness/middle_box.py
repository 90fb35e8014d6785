"""A box between station and signerd that forgets connections: it takes their bytes, and passes none.

async with MiddleBox(signerd.address) as box:
    GrpcSigner(box.address, ...)
    box.forget()               # the connections of now; fresh ones pass
    box.forget(fresh=True)     # those too
    box.remember()             # fresh ones pass again
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class MiddleBox:
    """On the loopback."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._passing = [True]  # of the connections that were made since the last `forget`
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.connections = 0

    def forget(self, *, fresh: bool = False) -> None:
        """Drops what comes on the connections of now; with `fresh`, on those to come too."""
        self._passing[0] = False
        self._passing = [not fresh]

    def remember(self) -> None:
        """Connections to come pass."""
        self._passing = [True]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        passing = self._passing
        there, theirs = await asyncio.open_connection(*self._target)
        for one, other in ((reader, theirs), (there, writer)):
            task = asyncio.create_task(_pass(one, other, passing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: list[bool]) -> None:
    try:
        while data := await reader.read(65536):
            if passing[0]:
                writer.write(data)
                await writer.drain()
    except ConnectionError:
        pass  # the other side is gone
    finally:
        if passing[0]:
            writer.close()
