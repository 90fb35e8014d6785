"""Driver `esp32`: the ESP32 family from an empty chip to a locked one.

The port belongs by turns to the chip's loader (esptool, in its worker) and to its firmware (the board
protocol). Methods go to where their answer is, with as few changes of side as possible: each costs a reset
and a boot.

What holds whatever happens:

- Nothing is written or burned before everything that can be known wrong is refused, and only on the chip
  that `identify` named.
- No eFuse is burned before the images of the final layout were compared in the same connection.
- A step that was cut anywhere can be repeated, by the same station or after a restart: where the chip stands
  is read from the chip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from agent.adapters.drivers.esp32 import chip
from agent.adapters.drivers.esp32.chip import ChipReport, Stage
from agent.adapters.drivers.esp32.console import Console
from agent.adapters.drivers.esp32.firmware_line import FirmwareLine
from agent.adapters.drivers.esp32.flashing import Flashing
from agent.adapters.drivers.esp32.images import BundleFacts, read_facts
from agent.adapters.drivers.esp32.loader import Loader
from agent.adapters.drivers.esp32.options import Esp32Options, parse_options
from agent.adapters.drivers.esp32.worker_process import Worker
from agent.core.bundle import Burn
from agent.core.pop import ProofOfPossession
from agent.errors import BoardError, LineError
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    Demanded,
    Firmware,
    Flashed,
    Found,
    OnProgress,
)

_NO_BUNDLE = "Name the product's firmware bundle in the station's configuration."
_QUICK_S = 0.5  # a hello of a board that is there answers in some milliseconds
_QUIET_LOOKS = 2  # unanswered hellos until the loader is asked: that resets a board that is only slow
_NOTHING_WAITS = frozenset({"no_answer", "no_group", "bad_answer"})


class Esp32Driver:
    """See `agent.ports.Driver`."""

    def __init__(self, port: str, options: Mapping[str, object], firmware: Firmware | None = None) -> None:
        self._options: Esp32Options = parse_options(options)
        self._port = port
        self._firmware = firmware
        self._facts: BundleFacts | None = None
        self._worker = Worker()
        self._loader = Loader(port, self._options, self._worker)
        self._line: FirmwareLine | None = None  # open while the firmware has the port
        self._chip_id: str | None = None  # that identify named
        self._report: ChipReport | None = None  # of that chip, the newest
        self._board: BoardIdentity | None = None  # its firmware's last word
        self._quiet = 0
        self._sealed_here = (
            False  # the final layout was compared, and what goes before first boot burned, just now
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._close_line()
        finally:
            await self._worker.stop()

    # Who is there

    async def present(self) -> str | None:
        """See `Driver`. Firmware that answered is asked for its `hello`, a chip in its loader for its MAC."""
        if self._line is not None:
            return await self._present_firmware(self._line)
        try:
            if self._loader.connected:
                return await self._loader.alive()
            self._report = await self._loader.open(attempts=1)
        except LineError as error:
            if error.code != "no_answer":
                raise
            return await self._present_without_loader()
        if self._report.mac is None:
            return await self._present_without_loader()
        return self._report.mac

    async def _present_firmware(self, line: FirmwareLine) -> str | None:
        try:
            self._board = await line.hello(_QUICK_S)
        except LineError as error:
            if error.code != "no_answer":
                raise
            self._quiet += 1
            if self._quiet >= _QUIET_LOOKS:
                await self._close_line()
            return None
        self._quiet = 0
        return self._board.chip_id

    async def _present_without_loader(self) -> str | None:
        try:
            return (await self._boot(_QUICK_S)).chip_id
        except LineError as error:
            if error.code not in _NOTHING_WAITS:
                raise
            await self._close_line()
            return None

    async def identify(self) -> Found:
        """See `Driver`. The loader first; a chip that is locked or has no open loader by its firmware."""
        self._chip_id, self._sealed_here = None, False
        if self._line is not None:
            board = await self._board_on_line(self._line)
            if board is not None:
                return self._found(board.chip_id, board)
        return await self._identify_by_loader()

    async def _board_on_line(self, line: FirmwareLine) -> BoardIdentity | None:
        try:
            self._board = await line.hello(_QUICK_S)
        except (LineError, BoardError) as error:
            if error.code not in _NOTHING_WAITS:
                raise
            await self._close_line()
            return None
        if self._report is not None and self._report.mac != self._board.chip_id:
            self._report = None  # it was of another board
        return self._board

    async def _identify_by_loader(self) -> Found:
        self._report = self._board = None
        try:
            self._report = await self._open_loader()
        except LineError as error:
            if error.code != "no_answer":
                raise
            board = await self._boot(self._options.boot_timeout_s)
            return self._found(board.chip_id, board)
        locked = chip.stage(self._report) is Stage.LOCKED
        if self._firmware is not None and not locked and self._report.mac is not None:
            return self._found(self._report.mac, None)  # it stays in its loader for `flash`
        try:
            board = await self._boot(self._options.boot_timeout_s)
        except (LineError, BoardError) as error:
            if error.code not in _NOTHING_WAITS or self._report.mac is None:
                raise
            return self._found(self._report.mac, None)
        return self._found(board.chip_id, board)

    def _found(self, chip_id: str, board: BoardIdentity | None) -> Found:
        self._chip_id = chip_id
        description = self._report.description if self._report is not None else ""
        if not description and board is not None:
            description = board.model
        return Found(chip_id, board, description)

    # Sides of the port

    async def _open_loader(self) -> ChipReport:
        await self._close_line()
        return await self._loader.open()

    async def _in_loader(self) -> ChipReport:
        """The chip in its loader, which is the one that identify named."""
        if not self._loader.connected or self._report is None:
            self._report = await self._open_loader()
        if self._report.mac is not None and self._chip_id is not None and self._report.mac != self._chip_id:
            found = self._report.mac
            self._report = None
            await self._loader.close()
            raise BoardError("chip_changed", f"the chip is {found} now, it was {self._chip_id}")
        return self._report

    async def _boot(
        self,
        timeout_s: float,
        done: Callable[[BoardIdentity | None], bool] | None = None,
        console: Console | None = None,
    ) -> BoardIdentity:
        """Starts the firmware from the loader, or finds it running, and waits for its `hello`."""
        was_in_loader = self._loader.connected
        if was_in_loader:
            await self._loader.leave()
        if self._line is None:
            if not was_in_loader:
                await self._loader.close()
            self._line = await FirmwareLine(self._port, self._options).__aenter__()
        line = self._line
        line.on_console = None if console is None else console.feed
        try:
            await self._loader.start()
            self._board = await line.wait(timeout_s, done or (lambda board: board is not None))
        finally:
            line.on_console = None
        if self._chip_id is not None and self._board.chip_id != self._chip_id:
            raise BoardError(
                "chip_changed", f"the board says {self._board.chip_id}, the chip is {self._chip_id}"
            )
        self._quiet = 0
        return self._board

    async def _close_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.__aexit__(None, None, None)

    async def _on_firmware(self) -> FirmwareLine:
        """The line to the firmware, which has answered."""
        if self._line is None:
            await self._boot(self._options.boot_timeout_s)
        if self._line is None:
            raise LineError("no_answer", "the firmware's line closed")
        return self._line

    # Steps of the firmware

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        await (await self._on_firmware()).keygen(key_type, on_progress)

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        """See `Driver`."""
        return await (await self._on_firmware()).request(challenge, methods)

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        return await (await self._on_firmware()).install(content, on_progress)

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        return await (await self._on_firmware()).configure(content, on_progress)

    async def pop(self) -> ProofOfPossession:
        """See `Driver`."""
        return await (await self._on_firmware()).pop()

    async def stamp(self, challenge: bytes) -> BoardStamp:
        """See `Driver`."""
        return await (await self._on_firmware()).stamp(challenge)

    # Steps of the chip

    async def flash(self, demanded: Demanded, on_progress: OnProgress | None = None) -> Flashed:
        """See `Driver`. A chip whose first boot was cut is finished; a locked one is only looked at."""
        firmware = self._require_firmware()
        manifest = firmware.bundle.manifest
        chip.check_bundle(firmware.bundle, demanded)
        everything = tuple(image.name for image in manifest.images)
        if self._is_locked():
            chip.check_locked(self._board, manifest)
            return Flashed((), everything)
        flashing = await self._flashing()
        if chip.stage(flashing.report) is Stage.LOCKED:
            raise BoardError("chip_sealed", "the chip was locked meanwhile", retryable=True)
        if chip.stage(flashing.report) is Stage.LOCKING:
            flashed = await flashing.mend(on_progress)
            await self._watch(None)
            return flashed
        flashed = await flashing.manufacturing(on_progress)
        board = await self._boot(self._options.boot_timeout_s)
        chip.check_components(board, manifest, final=False)
        return flashed

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        """See `Driver`. The firmware's own seal; the final layout; what is burned before the first boot."""
        self._sealed_here = False
        if self._firmware is None:
            await (await self._on_firmware()).seal(on_progress)
            return
        if self._is_locked():
            chip.check_locked(self._board, self._firmware.bundle.manifest)
            return
        if self._line is not None or not self._loader.connected:
            await (await self._on_firmware()).seal()
        flashing = await self._flashing()
        if chip.stage(flashing.report) is Stage.LOCKED:
            return
        await flashing.seal(on_progress)
        await self._burn(self._burns(after_first_boot=False))
        self._sealed_here = True

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        if self._firmware is None:
            await self._watch(on_progress)
            return
        if not await self._is_final():
            await self._prepare_first_boot()
            await self._watch(on_progress)
        burns = self._burns(after_first_boot=True)
        if not self._sealed_here:  # a cut between the layout and its burns: they may be due still
            burns = self._burns(after_first_boot=False) + burns
        if burns:
            await self._burn_after(burns)

    async def locks(self) -> Mapping[str, bool]:
        """See `Driver`. What a locked chip said is kept: its eFuses do not open again."""
        if self._report is None or chip.stage(self._report) is not Stage.LOCKED:
            try:
                self._report = await self._open_loader()
            except LineError as error:
                if error.code != "no_answer":
                    raise
                await self._boot(self._options.boot_timeout_s)
                return {}  # its loader is closed for good
            await self._in_loader()
        locks = chip.locks(self._report)
        if self._loader.connected:
            await self._boot(self._options.boot_timeout_s)
        return locks

    # How they are done

    def _require_firmware(self) -> Firmware:
        if self._firmware is None:
            raise BoardError("no_bundle", "the station has no firmware bundle", remedy=_NO_BUNDLE)
        return self._firmware

    def _is_locked(self) -> bool:
        """True for a chip that its loader or its silence has shown to be locked."""
        if self._report is None:
            return self._board is not None  # it answers, and its loader does not
        return chip.stage(self._report) is Stage.LOCKED

    async def _flashing(self) -> Flashing:
        """The chip in its loader, after everything that can be refused was looked at."""
        firmware = self._require_firmware()
        if self._facts is None:
            self._facts = await asyncio.to_thread(read_facts, firmware)
        report = await self._in_loader()
        manifest = firmware.bundle.manifest
        chip.check_chip(report, manifest, self._facts.images)
        if chip.stage(report) is not Stage.LOCKED:
            chip.check_flash_size(await self._loader.prepare(), manifest)
        return Flashing(self._loader, report, firmware, self._facts)

    def _burns(self, *, after_first_boot: bool) -> tuple[Burn, ...]:
        burns = self._require_firmware().bundle.manifest.burns
        return tuple(burn for burn in burns if burn.after_first_boot is after_first_boot)

    async def _burn(self, burns: Sequence[Burn]) -> None:
        """Burns, and has a new connection read back what can be read back."""
        if not burns:
            return
        mac = (await self._in_loader()).mac
        if mac is None:
            raise BoardError("burn_failed", "the chip's eFuses cannot be read any more")
        if all(await self._loader.burned(burns)):
            return
        await self._loader.burn(mac, burns)
        await self._loader.close()
        self._report = None
        await self._confirm(burns)

    async def _confirm(self, burns: Sequence[Burn]) -> None:
        closing = burns[-1].name in chip.CLOSING
        try:
            report = await self._in_loader()
        except LineError as error:
            # Read back was all but the last; that one is what makes the loader silent.
            if error.code == "no_answer" and closing and burns[-1].name != "ENABLE_SECURITY_DOWNLOAD":
                return
            raise
        if closing and burns[-1].name == "ENABLE_SECURITY_DOWNLOAD" and report.secure_download:
            return
        standing = await self._loader.burned(burns) if report.mac is not None else [False]
        if not all(standing):
            raise BoardError(
                "burn_failed", "an eFuse that was burned does not read back", remedy="Set the board aside."
            )

    async def _burn_after(self, burns: Sequence[Burn]) -> None:
        """What goes after the first boot; then the firmware again."""
        try:
            report = await self._in_loader()
        except LineError as error:
            if error.code != "no_answer" or burns[-1].name not in chip.CLOSING:
                raise
            await self._boot(self._options.boot_timeout_s)
            return  # closed before: nothing is left to burn, for that comes last
        locked_report = report
        if not report.secure_download:
            await self._burn(burns)
        elif burns[-1].name != "ENABLE_SECURITY_DOWNLOAD":
            raise BoardError(
                "burn_failed", "secure download mode is on, and eFuses cannot be burned any more"
            )
        if self._report is None or self._report.secure_download:
            self._report = locked_report.model_copy(update={"secure_download": True})
        await self._boot(self._options.boot_timeout_s, self._is_done)

    async def _is_final(self) -> bool:
        """True if the application runs, and says that all is done."""
        if self._line is None:
            return False
        board = await self._board_on_line(self._line)
        return board is not None and self._is_done(board)

    def _is_done(self, board: BoardIdentity | None) -> bool:
        if board is None or not board.sealed:
            return False
        if self._firmware is None:
            return True
        return dict(board.firmware) == chip.components(self._firmware.bundle.manifest, final=True)

    async def _prepare_first_boot(self) -> None:
        if self._sealed_here and self._loader.connected:
            return
        flashing = await self._flashing()
        stage = chip.stage(flashing.report)
        if stage is Stage.OPEN and not await flashing.stands():
            raise BoardError(
                "bad_state", "the chip does not hold the final layout: seal comes first", retryable=True
            )
        if stage is Stage.LOCKING:
            await flashing.mend(None)

    async def _watch(self, on_progress: OnProgress | None) -> None:
        """Starts the chip and watches its console until the application says that it is locked."""
        console = Console()
        told = -1

        def done(board: BoardIdentity | None) -> bool:
            nonlocal told
            if board is not None and self._is_done(board):
                return True
            if console.failure is not None:
                raise console.failure
            if on_progress is not None and console.percent > told:
                told = console.percent
                on_progress(told, 100)
            return False

        try:
            await self._boot(self._options.first_boot_timeout_s, done, console)
        except LineError as error:
            if error.code != "no_answer":
                raise
            detail = f"the first boot did not end; the console came to {console.percent} %"
            raise BoardError("first_boot_slow", detail, retryable=True) from error
        self._report = None  # it says of a chip that was open
        if on_progress is not None:
            on_progress(100, 100)
