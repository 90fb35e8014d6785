"""A printer on paper: it listens as a network printer does, and keeps what came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PaperPrinter:
    """A printer that reads each connection to its end, and keeps what came."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.port = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert self.connections == 1, "two labels at once"
        try:
            data = await reader.read()
            await asyncio.sleep(0)  # where another connection would be seen
            self.received.append(data)
        finally:
            self.connections -= 1
            writer.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
