"""A printer on paper: it listens as a network printer does, keeps what came, and says how it is.

printer.status.flags["paper_out"] = 1
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


ASKED = b"~HS"
PASSWORD = b"4711"  # what a printer answers shows it; nothing else may


@dataclass
class PaperStatus:
    """The answer to `~HS`, as Zebra's ZPL II Programming Guide has it; `flags` that are missing are 0."""

    flags: dict[str, int] = field(default_factory=dict)
    formats: int = 0
    remaining: int = 0

    def answer(self) -> bytes:
        """The three lines."""
        of = self.flags.get
        first = (
            f"030,{of('paper_out', 0)},{of('paused', 0)},1225,{self.formats:03},{of('buffer_full', 0)},"
            f"{of('diagnostic', 0)},{of('partial', 0)},000,{of('settings_lost', 0)},{of('cold', 0)},"
            f"{of('hot', 0)}"
        )
        second = (
            f"001,0,{of('head_open', 0)},{of('ribbon_out', 0)},{of('needs_ribbon', 1)},2,6,0,"
            f"{self.remaining:08},1,000"
        )
        lines = (first.encode(), second.encode(), PASSWORD + b",0")
        return b"".join(b"\x02" + line + b"\x03\r\n" for line in lines)


class PaperPrinter:
    """A printer that reads each connection to its end, and keeps what came; `~HS` alone is answered.

    A label is printed once `looks` questions after it are answered, and so long it remains.
    """

    def __init__(self, *, looks: int = 0) -> None:
        self.status = PaperStatus()
        self.on_label: Callable[[], None] = lambda: None  # what happens to the printer with a label in it
        self.asked: list[int] = []  # for each question, how many labels had come
        self._looks = looks
        self.received: list[bytes] = []
        self.port = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a question, or a label."""
        try:
            data = await reader.read(len(ASKED))
            if data == ASKED:
                writer.write(self.answer())
                await writer.drain()
            else:
                await self._label(data, reader)
        finally:
            writer.close()

    async def _label(self, begin: bytes, reader: asyncio.StreamReader) -> None:
        self.connections += 1
        try:
            assert self.connections == 1, "two labels at once"
            data = begin + await reader.read()
            await asyncio.sleep(0)  # where another connection would be seen
            self.take(data)
        finally:
            self.connections -= 1

    def take(self, label: bytes) -> None:
        """A label has come."""
        self.received.append(label)
        self.status.remaining = self._looks
        self.on_label()

    def answer(self) -> bytes:
        """What it says when it is asked; while it waits for something, it prints nothing."""
        self.asked.append(len(self.received))
        said = self.status.answer()
        if not any(self.status.flags.values()):
            self.status.remaining = max(0, self.status.remaining - 1)
        return said


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    kept = []  # asyncio itself keeps no connection that nobody reads: it would be closed at any moment

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append((asyncio.current_task(), writer))
        await serve(reader, writer)

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
