"""A serial line whose dialogue somebody wants to see."""

from __future__ import annotations

from agent.adapters.drivers.serial_line import SerialLine
from agent.adapters.log.trace import SerialTrace


class TracedLine(SerialLine):
    """See `SerialLine`."""

    def __init__(self, line: SerialLine, trace: SerialTrace) -> None:
        self._line = line
        self._trace = trace

    def start(self) -> None:
        """See `SerialLine`."""
        self._line.start()

    async def write(self, data: bytes) -> None:
        """See `SerialLine`. Before it is sent: an answer must not stand before its question."""
        self._trace.sent(data)
        await self._line.write(data)

    def stop(self) -> None:
        """See `SerialLine`."""
        self._line.stop()

    async def close(self) -> None:
        """See `SerialLine`."""
        await self._line.close()
        self._trace.closed()
