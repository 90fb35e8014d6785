"""Printers that take ZPL: `tcp://host:9100`, or a device such as `/dev/usb/lp0` or `LPT1`.

One label at a time, in the order of asking, its bytes never mixed with another's. A label of which the
printer may not have all is an error. Whether it came out is for the eyes: the error's remedy says to look.
A printer that fails fails the labels that waited in line as well, untried, so that sixteen ports do not wait
one after the other for the same printer. What comes later tries it anew.

Over TCP the printer is told the end and has to close its side, as it does when it has read everything; that
is CUPS's `waiteof`. Some never close: with `tcp://host:9100?waiteof=false` a label counts as printed once it
is sent.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from agent.adapters.labels.device import DevicePort
from agent.config import endpoint
from agent.errors import ConfigError, LabelError

CONNECT_S = 5.0  # a printer in the same building answers at once
PRINT_S = 15.0  # for a label of some 60 KB, into a printer that is still printing the one before
TURN_S = 24.0  # in line and at the printer together: its own word comes before the step's 30 s are over
_READ_BYTES = 4_096
_TCP = "tcp://"
_NO_EOF = "?waiteof=false"
_UNTRIED = "See to the printer, and present the board again: nothing of this label was sent."
_LOOK = "See to the printer; throw away what it may have printed of this label, and present the board again."


class PrinterPort(Protocol):
    """The way to one printer. Never used for two labels at once."""

    async def send(self, data: bytes) -> None:
        """Returns when the printer has all. Raises OSError, or TimeoutError."""
        ...

    async def reach(self) -> None:
        """Returns when the printer could be sent a label; nothing is printed. Raises OSError."""
        ...


class TcpPort:
    """A printer in the network, a connection for each label."""

    def __init__(
        self, host: str, port: int, *, wait_eof: bool, connect_s: float = CONNECT_S, print_s: float = PRINT_S
    ) -> None:
        self._address = (host, port)
        self._wait_eof = wait_eof
        self._connect_s, self._print_s = connect_s, print_s

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

    def __init__(self, port: PrinterPort, *, turn_s: float = TURN_S) -> None:
        self._port = port
        self._turn_s = turn_s
        self._turn = asyncio.Lock()  # fair: first come, first served
        self._failures = 0
        self._failure: LabelError | None = None  # the last

    async def put(self, zpl: bytes) -> None:
        """Prints one label. Raises LabelError."""
        failures, sent = self._failures, False
        try:
            async with asyncio.timeout(self._turn_s), self._turn:
                if self._failure is not None and self._failures != failures:
                    raise _untried(self._failure.code, self._failure.detail)
                sent = True
                await self._send(zpl)
        except TimeoutError as error:
            if sent:
                raise self._failed(_hangs()) from error
            raise _untried("printer_hangs", "the label printer does not come to this label") from error

    async def _send(self, zpl: bytes) -> None:
        try:
            await self._port.send(zpl)
        except TimeoutError as error:
            raise self._failed(_hangs()) from error
        except OSError as error:
            raise self._failed(_off(error, _LOOK)) from error

    def _failed(self, failure: LabelError) -> LabelError:
        self._failures += 1
        self._failure = failure
        return failure

    async def check(self) -> None:
        """Raises LabelError where no label could be sent now; prints nothing."""
        async with self._turn:
            try:
                await self._port.reach()
            except OSError as error:
                raise _off(error, "See to the printer, and to label.printer in agent.toml.") from error


def open_printer(text: str) -> LabelPrinter:
    """The printer that the configuration names. Raises ConfigError."""
    if not text.startswith(_TCP):
        return LabelPrinter(DevicePort(text, print_s=PRINT_S))
    address = text.removeprefix(_TCP)
    wait_eof = not address.endswith(_NO_EOF)
    try:
        host, _, port = endpoint(address.removesuffix(_NO_EOF).rstrip("/")).rpartition(":")
    except ValueError as error:
        raise ConfigError(
            f"label.printer: {text} is no printer's address",
            remedy="Write tcp://host:9100 or a device's path.",
        ) from error
    return LabelPrinter(TcpPort(host.strip("[]"), int(port), wait_eof=wait_eof))


def _hangs() -> LabelError:
    return LabelError("printer_hangs", "the label printer did not take the label", remedy=_LOOK)


def _untried(code: str, detail: str) -> LabelError:
    return LabelError(code, detail, remedy=_UNTRIED)


def _off(error: OSError, remedy: str) -> LabelError:
    reason = error.strerror or type(error).__name__
    return LabelError(
        "printer_off", f"the label printer cannot be reached or broke off: {reason}", remedy=remedy
    )
