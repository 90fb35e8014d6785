"""Printers that take ZPL: `tcp://host:9100`, or a device such as `/dev/usb/lp0` or `LPT1`.

One label at a time, in the order of asking, its bytes never mixed with another's. A label of which the
printer may not have all is an error. Whether it came out is for the eyes: the error's remedy says to look.
A printer that fails fails the labels that waited in line as well, untried, so that sixteen ports do not wait
one after the other for the same printer. What comes later tries it anew.

Over TCP the printer is told the end and has to close its side, as it does when it has read everything; that
is CUPS's `waiteof`. Some never close: with `tcp://host:9100?waiteof=false` a label counts as printed once it
is sent.

A printer that can answer is asked for its status (`~HS`) before a label is sent, and after it until nothing
is left to print: then PASS means printed. A label that got stuck is not taken back, since that would also
take back what another station sent. Nor is it waited for when its board comes again, since a printer that
was switched off has forgotten it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from agent.adapters.labels.device import ASK_S, DevicePort
from agent.adapters.labels.printer_status import ASK, NoStatusError, PrinterStatus, is_whole, parse_status
from agent.config import endpoint
from agent.errors import ConfigError, LabelError

CONNECT_S = 5.0  # a printer in the same building answers at once
PRINT_S = 15.0  # for a label of some 60 KB, into a printer that is still printing the one before
TURN_S = 24.0  # in line and at the printer together: its own word comes before the step's 30 s are over
_READ_BYTES = 4_096
_TCP = "tcp://"
_NO_EOF = "?waiteof=false"
_PAUSE_S = 0.1  # between two questions
_SURE = 2  # answers one after the other that nothing is left: the first may be from before the label
_NOT_TAKEN = "the label printer did not take the label"
_SEE_SILENT = (
    "Check its labels, ribbon, head and power (one that never answers: label.status = false in agent.toml)."
)


class PrinterPort(Protocol):
    """The way to one printer. Never used for two labels at once."""

    async def send(self, data: bytes) -> None:
        """Returns when the printer has all. Raises OSError, or TimeoutError."""
        ...

    async def reach(self) -> None:
        """Returns when the printer could be sent a label; nothing is printed. Raises OSError."""
        ...

    async def ask(self, question: bytes, is_whole: Callable[[bytes], bool]) -> bytes:
        """What the printer answers until it is whole or the time is over, which is bounded.

        Raises OSError, or TimeoutError.
        """
        ...

    def answers(self) -> bool:
        """Whether a printer can answer this way at all."""
        ...


class TcpPort:
    """A printer in the network, a connection for each label."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        wait_eof: bool,
        connect_s: float = CONNECT_S,
        print_s: float = PRINT_S,
        ask_s: float = ASK_S,
    ) -> None:
        self._address = (host, port)
        self._wait_eof = wait_eof
        self._connect_s, self._print_s, self._ask_s = connect_s, print_s, ask_s

    async def send(self, data: bytes) -> None:
        """See `PrinterPort`."""
        reader, writer = await self._connect()
        try:
            async with asyncio.timeout(self._print_s):
                await self._hand_over(reader, writer, data)
        finally:
            writer.transport.abort()  # does nothing to a connection that is over

    async def reach(self) -> None:
        """See `PrinterPort`."""
        _, writer = await self._connect()
        writer.transport.abort()

    async def ask(self, question: bytes, is_whole: Callable[[bytes], bool]) -> bytes:
        """See `PrinterPort`. A connection of its own, so that an answer is to no other question."""
        reader, writer = await self._connect()
        answer = b""
        try:
            async with asyncio.timeout(self._ask_s):
                writer.write(question)
                while not is_whole(answer) and (more := await reader.read(_READ_BYTES)):
                    answer += more
        except TimeoutError:
            pass  # what came until then is the answer, if any
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # some printers have one connection and no more
        return answer

    def answers(self) -> bool:
        """See `PrinterPort`."""
        return True

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._connect_s):
                return await asyncio.open_connection(*self._address)
        except TimeoutError as error:
            raise ConnectionRefusedError(None, "no answer") from error
        except UnicodeError as error:  # a part of the name is empty, or longer than 63 characters
            raise OSError(None, "no host can have this name") from error

    async def _hand_over(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
    ) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # so that drain waits for the last byte
        writer.write(data)
        await writer.drain()
        if reader.at_eof():
            raise ConnectionAbortedError(None, "it closed the connection before the label's end")
        if not self._wait_eof:
            writer.close()
            await writer.wait_closed()
            return
        writer.write_eof()
        while await reader.read(_READ_BYTES):  # a status that nobody asked for
            pass


class LabelPrinter:
    """One printer and the labels that wait for it."""

    def __init__(self, port: PrinterPort, *, turn_s: float = TURN_S, asks: bool = False) -> None:
        """`asks`: whether the printer is asked for its status before and after a label."""
        self._port = port
        self._turn_s = turn_s
        self._asks = asks
        self._turn = asyncio.Lock()  # fair: first come, first served
        self._failures = 0
        self._failure: LabelError | None = None  # the last

    async def put(self, zpl: bytes) -> None:
        """Prints one label. Raises LabelError."""
        failures, late = self._failures, ""
        try:
            async with asyncio.timeout(self._turn_s), self._turn:
                if self._failure is not None and self._failures != failures:
                    raise _untried(self._failure)
                if self._asks:
                    await self._demand_ready()
                late = _NOT_TAKEN
                await self._send(zpl)
                if self._asks:
                    late = "the label printer did not say in time that the label is printed"
                    await self._printed()
        except TimeoutError as error:
            if late:
                raise _look(self._failed(_hangs(late))) from error
            raise _untried(_hangs("the label printer does not come to this label")) from error

    async def _send(self, zpl: bytes) -> None:
        try:
            await self._port.send(zpl)
        except TimeoutError as error:
            raise _look(self._failed(_hangs(_NOT_TAKEN))) from error
        except OSError as error:
            raise _look(self._failed(_off(error))) from error

    async def _demand_ready(self) -> None:
        """Raises LabelError where a label would not come out; none was sent."""
        try:
            _demand(await self._status())
        except LabelError as error:
            raise _untried(self._failed(error)) from error

    async def _printed(self) -> None:
        """Returns when nothing is left to print. Raises LabelError where a label is stuck."""
        done = 0
        while done < _SURE:
            await asyncio.sleep(_PAUSE_S)
            try:
                status = await self._status()
            except LabelError:  # some are silent while they print; the label's time bounds it
                done = 0
                continue
            if status.stuck:
                raise _look(self._failed(_not_ready(status)))
            done = done + 1 if status.done else 0

    async def _status(self) -> PrinterStatus:
        """What the printer says of itself. Raises LabelError."""
        try:
            answer = await self._port.ask(ASK, is_whole)
        except TimeoutError:
            answer = b""
        except OSError as error:
            raise _off(error) from error
        if not answer:
            raise _silent("the label printer does not answer when it is asked for its status (~HS)")
        try:
            return parse_status(answer)
        except NoStatusError as error:
            raise _silent("what the label printer answers is not its status (~HS)") from error

    def _failed(self, failure: LabelError) -> LabelError:
        self._failures += 1
        self._failure = failure
        return failure

    async def check(self) -> None:
        """Raises LabelError where no label could be sent now; prints nothing."""
        async with self._turn:
            if self._asks:
                _demand(await self._status())
                return
            try:
                await self._port.reach()
            except OSError as error:
                raise _off(error) from error


def open_printer(text: str, *, status: bool | None = None) -> LabelPrinter:
    """The printer that the configuration names. Raises ConfigError.

    Args:
        text: `label.printer`.
        status: `label.status`; None: it is asked for its status if it can answer.
    """
    port = _port(text)
    if status and not port.answers():
        raise ConfigError(
            f"label.status: {text} takes labels and answers nothing",
            remedy="Write status = false (PASS then means sent), or name the printer as tcp://host:9100.",
        )
    return LabelPrinter(port, asks=port.answers() if status is None else status)


def _port(text: str) -> PrinterPort:
    if "://" not in text:
        return DevicePort(text, print_s=PRINT_S)
    address = text.removeprefix(_TCP)
    wait_eof = not address.endswith(_NO_EOF)
    try:  # what begins as another address does has its :// still
        host, _, port = endpoint(address.removesuffix(_NO_EOF).rstrip("/")).rpartition(":")
    except ValueError as error:
        raise ConfigError(
            f"label.printer: {text} is no printer's address",
            remedy="Write tcp://host:9100 or a device's path.",
        ) from error
    return TcpPort(host.strip("[]"), int(port), wait_eof=wait_eof)


def _demand(status: PrinterStatus) -> None:
    if not status.ready:
        raise _not_ready(status)


# What is wrong, with what to do about the printer; `_untried` and `_look` say what to do about the board.


def _not_ready(status: PrinterStatus) -> LabelError:
    detail = f"the label printer cannot print: {status.said()}"
    return LabelError("printer_not_ready", detail, remedy=f"{status.to_do()}.")


def _silent(detail: str) -> LabelError:
    return LabelError("printer_silent", detail, remedy=_SEE_SILENT)


def _hangs(detail: str) -> LabelError:
    return LabelError("printer_hangs", detail, remedy="Check the printer.")


def _off(error: OSError) -> LabelError:
    reason = error.strerror or type(error).__name__
    detail = f"the label printer cannot be reached or broke off: {reason}"
    return LabelError("printer_off", detail, remedy="Check the printer, and label.printer in agent.toml.")


def _untried(failure: LabelError) -> LabelError:
    todo = failure.remedy.removesuffix(".")
    remedy = f"{todo}, and present the board again: nothing of this label was sent."
    return LabelError(failure.code, failure.detail, remedy=remedy)


def _look(failure: LabelError) -> LabelError:
    todo = failure.remedy.removesuffix(".")
    remedy = f"{todo}; throw away what it may have printed of this label, and present the board again."
    return LabelError(failure.code, failure.detail, remedy=remedy)
