"""The running firmware of a chip, on the console UART: the board protocol amid the lines of its console."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from smp.header import OP

from agent.adapters.drivers import smp_messages as messages
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.smp import SmpDriver
from agent.adapters.drivers.smp_link import SmpLink
from agent.errors import BoardError, LineError
from agent.ports import BoardIdentity

# While a chip boots, hello is asked this often: question and answer take 0.05 s at 115,200 baud.
_REPEAT_S = 0.1
_SHORT_TIMEOUT_S = 0.3  # the least for which an answer is awaited
_ROUND_S = 1.0  # the most, until the console is looked at
_PAUSE_S = 0.05
_GONE_S = 5.0  # for which a port may be away: a chip on USB takes it along when it resets


class FirmwareLine(SmpDriver):
    """`SmpDriver`, which can also wait for a firmware that is about to boot."""

    def __init__(self, port: str, options: Esp32Options) -> None:
        super().__init__(port, options.smp())
        self.on_console: Callable[[bytes], None] | None = None
        self._link = SmpLink(port, options.baudrate, self._console)

    def _console(self, data: bytes) -> None:
        if self.on_console is not None:
            self.on_console(data)

    async def hello(self, timeout_s: float | None = None, repeat_s: float | None = None) -> BoardIdentity:
        """One question; sent again each `repeat_s` where that is said. Raises `LineError`, `BoardError`."""
        self._sequence = (self._sequence + 1) % 256
        question = messages.encode_request(OP.READ, messages.HELLO, self._sequence, {})
        seconds = self._options.timeout_s if timeout_s is None else timeout_s
        answer = await self._link.exchange(question, seconds, self._buffer, repeat_s)
        identity = messages.identity(messages.parse_answer(answer, messages.HelloAnswer))
        self._buffer = identity.buffer
        return identity

    async def wait(self, timeout_s: float, done: Callable[[BoardIdentity | None], bool]) -> BoardIdentity:
        """Asks until `done` holds of the answer.

        `done` is called with None where nothing answered, and may raise to end the wait. A port that vanishes
        is opened again for some seconds: a chip on USB takes it along when it resets.

        Raises:
            LineError: `no_answer` after `timeout_s`; or what the last question raised.
            BoardError: the firmware answers what makes no sense.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        there_s = loop.time()
        while True:
            asked_s = loop.time()
            try:
                seconds = min(_ROUND_S, max(_SHORT_TIMEOUT_S, end_s - asked_s))
                board = await self.hello(seconds, _REPEAT_S)
            except LineError as error:
                done(None)
                there_s = loop.time() if error.code == "no_answer" else there_s
                if loop.time() >= end_s or loop.time() - there_s >= _GONE_S:
                    raise
                await asyncio.sleep(
                    max(0.0, _PAUSE_S - (loop.time() - asked_s)) if error.code == "no_answer" else _PAUSE_S
                )
                continue
            except BoardError as error:
                if not error.retryable or loop.time() >= end_s:
                    raise
                await asyncio.sleep(_PAUSE_S)
                continue
            there_s = loop.time()
            if done(board):
                return board
            if loop.time() >= end_s:
                raise LineError("no_answer", "the firmware answers, and never that it is done")
            await asyncio.sleep(_PAUSE_S)
