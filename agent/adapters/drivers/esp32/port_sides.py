"""One serial port, which belongs by turns to the chip's loader (esptool, in its worker) and to its firmware.

Changing the side costs a reset, and towards the firmware a boot: `present` and `identify` stay where they are
where that answers them. What is known of the chip stands in `Known`, and goes with the chip.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.adapters.drivers.chip_id import require_chip_id
from agent.adapters.drivers.esp32 import chip
from agent.adapters.drivers.esp32.chip import ChipReport, Stage
from agent.adapters.drivers.esp32.console import Console, Heard
from agent.adapters.drivers.esp32.firmware_line import FirmwareLine
from agent.adapters.drivers.esp32.loader import Loader
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.esp32.worker_process import Worker
from agent.adapters.log.trace import current_trace
from agent.errors import BoardError, LineError
from agent.ports import BoardIdentity, Found

_QUICK_S = 0.5  # a hello of a board that is there answers in some milliseconds
_QUIET_LOOKS = 2  # unanswered hellos until the loader is asked: that resets a board that is only slow
_NO_FIRMWARE = frozenset({"no_answer", "no_group", "bad_answer"})
_CLOSED = (
    "Is the board still in place, and powered? Its chip is locked: a firmware that hangs, or has its console"
    " elsewhere, looks the same. Present it again; if it stays silent, set it aside."
)


@dataclass(slots=True)
class Known:
    """What a station has learnt of one chip."""

    chip_id: str
    report: ChipReport | None = None  # the loader's newest
    board: BoardIdentity | None = None  # the firmware's last word
    loader_closed: bool = False  # the firmware answers, and the loader does not
    loader_answers: bool = False  # it did, and since then nothing was burned that would silence it
    told_to_seal: bool = False  # its firmware was; it boots no more before the chip holds the final layout
    ready: bool = False  # the final layout was compared, and what goes before first boot burned, just now

    @property
    def locked(self) -> bool:
        """True for a chip that its loader, or the loader's silence, has shown to be locked."""
        return self.loader_closed or (self.report is not None and chip.stage(self.report) is Stage.LOCKED)

    @property
    def is_closed(self) -> bool:
        """True too for one whose firmware has said that it is sealed."""
        return self.locked or (self.board is not None and self.board.sealed)


def _nobody(heard: Heard) -> LineError | BoardError:
    """What is to be said where neither a loader nor a firmware answered."""
    if heard.is_chip:
        return BoardError(
            "no_firmware",
            f"a chip starts here; neither its loader nor a firmware answers: {heard}",
            retryable=True,
            remedy="Its loader is closed, or the fixture's boot line has no contact: try another board. If"
            " that one passes, this one's firmware does not start, or its console is not this port: set it"
            " aside.",
        )
    return LineError(
        "no_answer",
        f"neither a chip's loader nor a firmware answers: {heard}",
        remedy="Is a board in place, and powered? A locked chip looks the same where its firmware hangs, or"
        " has its console elsewhere.",
    )


def _other_chip(board: str, loader: str) -> BoardError:
    """The firmware says another id than the loader of what should be the same chip."""
    return BoardError(
        "chip_changed",
        f"the board says {board}, the chip is {loader}",
        remedy="Present the board again. If it fails again, its firmware answers another address than the"
        " base MAC of the chip, such as a custom one or that of Wi-Fi or Bluetooth:"
        " esp_efuse_mac_get_default.",
    )


class PortSides:
    """The port of one driver."""

    def __init__(self, port: str, options: Esp32Options, *, flashes: bool) -> None:
        """`flashes`: whether a chip that may be written stays in its loader after `identify`."""
        self.loader = Loader(port, options, worker := Worker(trace=current_trace()))
        self._port = port
        self._options = options
        self._flashes = flashes
        self._worker = worker
        self._line: FirmwareLine | None = None  # open while the firmware has the port
        self._known: Known | None = None
        self._quiet = 0

    @property
    def known(self) -> Known:
        """The chip that `identify` found. Raises `LineError` before."""
        if self._known is None:
            raise LineError("no_answer", "no chip was identified on this port")
        return self._known

    async def close(self) -> None:
        """Gives the port back, and ends the worker."""
        try:
            await self._close_line()
        finally:
            await self._worker.stop()

    # Who is there

    async def present(self) -> str | None:
        """The chip that is there now, None without one. See `Driver`."""
        if self._line is not None:
            return await self._present_on(self._line)
        try:
            report_mac = await self._look()
        except LineError as error:
            if error.code != "no_answer":
                raise
            report_mac = None
        return report_mac if report_mac is not None else await self._present_by_boot()

    async def _look(self) -> str | None:
        if self.loader.connected:
            return await self.loader.alive()
        report = await self.loader.open(attempts=1)
        if report.mac is not None:
            self._note(self._remember(report.mac), report)
        return report.mac

    async def _present_on(self, line: FirmwareLine) -> str | None:
        try:
            board = await line.hello(_QUICK_S)
        except LineError as error:
            if error.code != "no_answer":
                raise
            self._quiet += 1
            if self._quiet >= _QUIET_LOOKS:
                await self._close_line()
            return None
        self._quiet = 0
        return board.chip_id

    async def _present_by_boot(self) -> str | None:
        try:
            return (await self._start(_QUICK_S)).chip_id
        except (LineError, BoardError) as error:
            if error.code not in _NO_FIRMWARE:
                raise
            await self._close_line()
            return None

    async def identify(self) -> Found:
        """Who is there: by the firmware where it has the port and answers, else by the loader."""
        if self._line is not None:
            try:
                board = await self._line.hello(_QUICK_S)
            except (LineError, BoardError) as error:
                if error.code not in _NO_FIRMWARE:
                    raise
                await self._close_line()
            else:
                return self._found(board.chip_id, board)
        return await self._identify_by_loader()

    async def _identify_by_loader(self) -> Found:
        try:
            report = await self._report()
        except LineError as error:
            if error.code != "no_answer":
                raise
            board = await self._find_firmware()
            found = self._found(board.chip_id, board)
            self.known.report, self.known.loader_closed = None, True
            return found
        writable = report.mac is not None and chip.stage(report) is not Stage.LOCKED
        answers = None if self._flashes and writable else await self._firmware_of(report)
        chip_id = report.mac if answers is None else answers.chip_id
        if answers is not None:
            require_chip_id(answers.chip_id, mac=True)
        if chip_id is None or report.mac not in {None, chip_id}:
            raise _other_chip(f"{chip_id}", f"{report.mac}")
        self._note(self._remember(chip_id), report)
        return self._found(chip_id, answers)

    async def _report(self) -> ChipReport:
        """The loader's report; a chip that is still in its loader is not reset for it."""
        known = self._known
        if self.loader.connected and known is not None and known.report is not None and known.report.mac:
            try:
                if await self.loader.alive() == known.report.mac:
                    return known.report
            except LineError as error:
                if error.code != "no_answer":
                    raise
        return await self.loader.open()

    async def _find_firmware(self) -> BoardIdentity:
        """The firmware of a board whose loader does not answer; the port is free again where nothing does.

        Raises `BoardError("no_firmware")` where a chip is heard, and nothing that answers.
        """
        heard = Heard()
        try:
            return await self._start(self._options.boot_timeout_s, console=heard)
        except LineError as error:
            await self._close_line()
            if error.code != "no_answer":
                raise
            raise _nobody(heard) from error

    async def _firmware_of(self, report: ChipReport) -> BoardIdentity | None:
        try:
            return await self._start(self._options.boot_timeout_s)
        except (LineError, BoardError) as error:
            if error.code not in _NO_FIRMWARE or report.mac is None:
                raise
            return None

    def _found(self, chip_id: str, board: BoardIdentity | None) -> Found:
        require_chip_id(chip_id, mac=True)
        known = self._remember(chip_id)
        known.board, known.ready = board, False
        model = "" if board is None else board.model
        return Found(chip_id, board, model if known.report is None else known.report.description)

    def _note(self, known: Known, report: ChipReport) -> None:
        known.report, known.loader_closed, known.loader_answers = report, False, True

    def _remember(self, chip_id: str) -> Known:
        if self._known is None or self._known.chip_id != chip_id:
            self._known = Known(chip_id)
        return self._known

    # Taking sides

    async def in_loader(self) -> ChipReport:
        """The chip in its loader: the one that identify found, or `chip_changed`."""
        known = self.known
        if self.loader.connected and known.report is not None:
            return known.report
        await self._close_line()
        report = await self.loader.open()
        if report.mac not in {None, known.chip_id}:
            await self.loader.close()
            raise BoardError("chip_changed", f"the chip is {report.mac} now, it was {known.chip_id}")
        self._note(known, report)
        return report

    @asynccontextmanager
    async def on_firmware(self) -> AsyncIterator[FirmwareLine]:
        """The line to the firmware, which has answered. What it does not answer is told as of this chip."""
        if self._line is None:
            await self.boot(self._options.boot_timeout_s)
        if self._line is None:
            raise LineError("no_answer", "the line to the firmware is closed")
        heard = Heard()
        self._line.on_console = heard.feed
        try:
            yield self._line
        except LineError as error:
            raise self.silence(error, heard) from error

    def silence(self, error: LineError, heard: Console | Heard) -> LineError:
        """What a chip that was there and answers no more leaves to be said; other errors as they are."""
        if error.code != "no_answer" or isinstance(heard, Console):
            return error
        return LineError(
            "no_answer",
            f"{error.detail}, where {self.known.chip_id} answered before: {heard}",
            remedy=_CLOSED if self.known.is_closed else "",
        )

    @property
    def has_line(self) -> bool:
        """True while the firmware has the port."""
        return self._line is not None

    async def boot(
        self,
        timeout_s: float,
        done: Callable[[BoardIdentity | None], bool] | None = None,
        console: Console | Heard | None = None,
    ) -> BoardIdentity:
        """Starts the firmware, or finds it running, and waits until `done` holds of its answer."""
        heard = Heard() if console is None else console
        try:
            board = await self._start(timeout_s, done, heard)
        except LineError as error:
            raise self.silence(error, heard) from error
        require_chip_id(board.chip_id, mac=True)
        if board.chip_id != self.known.chip_id:
            raise _other_chip(board.chip_id, self.known.chip_id)
        self.known.board = board
        return board

    async def _start(
        self,
        timeout_s: float,
        done: Callable[[BoardIdentity | None], bool] | None = None,
        console: Console | Heard | None = None,
    ) -> BoardIdentity:
        if self.loader.connected:
            await self.loader.leave()
        elif self._line is None:
            await self.loader.close()
        if self._line is None:
            line = FirmwareLine(self._port, self._options)
            await line.__aenter__()
            self._line = line
        else:
            line = self._line
        line.on_console = None if console is None else console.feed
        try:
            await self.loader.start()
            board = await line.wait(timeout_s, done or (lambda board: board is not None))
        finally:
            line.on_console = None
        self._quiet = 0
        return board

    async def _close_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.__aexit__(None, None, None)
