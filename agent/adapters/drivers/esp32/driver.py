"""Driver `esp32`: the ESP32 family from an empty chip to a locked one.

The port belongs by turns to the chip's loader (esptool, in its worker) and to its firmware (the board
protocol). Methods go to where their answer is, with as few changes of side as possible: each costs a reset
and a boot.

What holds whatever happens:

- Nothing is written or burned before everything that can be known wrong is refused, and only on the chip
  that `identify` named.
- No eFuse is burned before the images of the final layout were compared in the same connection, and none
  after the first boot before the eFuses themselves say that the chip is locked.
- A loader that answers no more counts as closed only where the bundle closes it: otherwise nobody can say
  what the silicon says.
- A step that was cut anywhere can be repeated, by the same station or after a restart: where the chip stands
  is read from the chip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from agent.adapters.drivers.esp32 import chip
from agent.adapters.drivers.esp32.chip import Stage
from agent.adapters.drivers.esp32.console import Console, Heard
from agent.adapters.drivers.esp32.flashing import Flashing
from agent.adapters.drivers.esp32.images import BundleFacts, read_facts
from agent.adapters.drivers.esp32.options import parse_options
from agent.adapters.drivers.esp32.port_sides import PortSides
from agent.core.bundle import Burn
from agent.core.pop import ProofOfPossession
from agent.errors import BoardError, LineError
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    Firmware,
    FirmwareDemands,
    Flashed,
    Found,
    OnProgress,
)

_NO_BUNDLE = "Name the product's firmware bundle in the station's configuration."
_PATIENCE = 3  # boots that a locked chip's firmware may take
_SECURE_DOWNLOAD = "ENABLE_SECURITY_DOWNLOAD"
_SILENCING = chip.CLOSING - {_SECURE_DOWNLOAD}  # the loader answers nothing at all after them


class Esp32Driver:
    """See `agent.ports.Driver`."""

    def __init__(self, port: str, options: Mapping[str, object], firmware: Firmware | None = None) -> None:
        self._options = parse_options(options)
        self._firmware = firmware
        self._facts: BundleFacts | None = None
        self._port = PortSides(port, self._options, flashes=firmware is not None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._port.close()

    async def present(self) -> str | None:
        """See `Driver`. Firmware that answered is asked for its `hello`, a chip in its loader for its MAC."""
        return await self._port.present()

    async def identify(self) -> Found:
        """See `Driver`. The loader first; a chip that is locked or has no open loader by its firmware."""
        return await self._port.identify()

    # Steps of the firmware

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            await line.keygen(key_type, on_progress)

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            return await line.request(challenge, methods)

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            return await line.install(content, on_progress)

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            return await line.configure(content, on_progress)

    async def pop(self) -> ProofOfPossession:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            return await line.pop()

    async def stamp(self, challenge: bytes) -> BoardStamp:
        """See `Driver`."""
        async with self._port.on_firmware() as line:
            return await line.stamp(challenge)

    # Steps of the chip

    async def flash(self, demanded: FirmwareDemands, on_progress: OnProgress | None = None) -> Flashed:
        """See `Driver`. A chip whose first boot was cut is finished; a locked one is only looked at."""
        firmware = self._require_firmware()
        chip.check_bundle(firmware.bundle, demanded)
        if self._port.known.locked:
            return await self._look_at_locked(firmware)
        flashing = await self._flashing()
        match chip.stage(flashing.report):
            case Stage.LOCKED:
                return await self._look_at_locked(firmware)
            case Stage.LOCKING:
                flashed = await flashing.mend(on_progress)
                await self._watch(None)
                return flashed
        flashed = await flashing.manufacturing(on_progress)
        self._port.known.told_to_seal = False  # the firmware that starts now has not heard of it
        board = await self._first_answer()
        chip.check_components(board, firmware.bundle.manifest, final=False)
        return flashed

    async def _first_answer(self) -> BoardIdentity:
        """The chip is there, its images were compared. If nothing answers, firmware speaks elsewhere."""
        heard = Heard()
        try:
            return await self._port.boot(self._options.boot_timeout_s, console=heard)
        except LineError as error:
            if error.code != "no_answer":
                raise
            raise BoardError(
                "no_firmware",
                f"the chip was flashed and started, and no firmware answers: {heard}",
                retryable=True,
                remedy="The manufacturing firmware's console has to be this port, at `baudrate`: look at its "
                "CONFIG_ESP_CONSOLE settings. If other boards pass, put this one aside.",
            ) from error

    async def _look_at_locked(self, firmware: Firmware) -> Flashed:
        """Nothing is written; the board goes on if it runs this very bundle."""
        manifest, known = firmware.bundle.manifest, self._port.known
        if known.report is not None:
            chip.check_chip(known.report, manifest, (await self._read_facts()).images)
        if self._port.loader.connected or known.board is None:
            await self._wait_for_locked()
        chip.check_locked(known.board, manifest)
        return Flashed((), tuple(image.name for image in manifest.images))

    async def _wait_for_locked(self) -> None:
        """A locked chip's firmware may be about its first start: it moves its settings before it answers."""
        try:
            await self._port.boot(_PATIENCE * self._options.boot_timeout_s)
        except LineError as error:
            if error.code != "no_answer":
                raise
            self._port.known.board = None

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        """See `Driver`. The firmware's own seal; the final layout; what is burned before the first boot."""
        known = self._port.known
        known.ready = False
        if self._firmware is None:
            async with self._port.on_firmware() as line:
                await line.seal(on_progress)
            return
        if known.locked:
            await self._look_at_locked(self._firmware)
            return
        if not known.told_to_seal:
            async with self._port.on_firmware() as line:
                await line.seal()
            known.told_to_seal = True
        flashing = await self._flashing()
        if chip.stage(flashing.report) is Stage.LOCKED:
            return
        await flashing.seal(on_progress)
        await self._burn(self._burns(after_first_boot=False))
        known.ready = True

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        if self._firmware is None:
            await self._watch(on_progress)
            return
        known = self._port.known
        was_ready = known.ready
        if not (self._port.has_line and self._is_done(await self._hello())):
            if not (was_ready and self._port.loader.connected):
                await self._prepare_first_boot()
            known.ready = False  # once started, what stands there is another thing: a next try looks again
            await self._watch(on_progress)
        burns = self._burns(after_first_boot=True)
        if not was_ready:  # a cut between the layout and its burns: they may be due still
            burns = self._burns(after_first_boot=False) + burns
        if burns and not self._is_closed(burns):
            await self._burn_after(burns)

    async def locks(self) -> Mapping[str, bool]:
        """See `Driver`. What a locked chip said is kept: its eFuses do not open again."""
        known = self._port.known
        if known.report is not None and chip.stage(known.report) is Stage.LOCKED:
            return chip.locks(known.report)
        if known.loader_closed:
            return self._unreadable_locks()
        try:
            report = await self._port.in_loader()
        except LineError as error:
            if error.code != "no_answer":
                raise
            await self._port.boot(self._options.boot_timeout_s)
            return self._unreadable_locks()
        await self._port.boot(self._options.boot_timeout_s)
        return chip.locks(report)

    def _unreadable_locks(self) -> Mapping[str, bool]:
        """Nothing, where that is as it should be: a boot strap without contact must not look like a lock."""
        if self._firmware is not None and not self._silences(self._firmware.bundle.manifest.burns):
            raise BoardError(
                "locks_unreadable",
                "the loader does not answer, and the bundle does not close it",
                retryable=True,
                remedy="Check the fixture's boot and reset lines. A product whose own firmware closes the "
                "loader names that eFuse as its bundle's last burn.",
            )
        return {}

    # How they are done

    def _require_firmware(self) -> Firmware:
        if self._firmware is None:
            raise BoardError("no_bundle", "the station has no firmware bundle", remedy=_NO_BUNDLE)
        return self._firmware

    async def _read_facts(self) -> BundleFacts:
        if self._facts is None:
            self._facts = await asyncio.to_thread(read_facts, self._require_firmware())
        return self._facts

    async def _flashing(self) -> Flashing:
        """The chip in its loader, after everything that can be refused was looked at."""
        firmware, facts = self._require_firmware(), await self._read_facts()
        report = await self._port.in_loader()
        chip.check_chip(report, firmware.bundle.manifest, facts.images)
        if chip.stage(report) is not Stage.LOCKED:
            chip.check_flash_size(await self._port.loader.prepare(), firmware.bundle.manifest)
        return Flashing(self._port.loader, report, firmware, facts)

    async def _hello(self) -> BoardIdentity | None:
        return (await self._port.identify()).board

    def _is_done(self, board: BoardIdentity | None) -> bool:
        """True if the application runs, and says that all is done."""
        return board is not None and board.sealed and self._runs_final(board)

    def _runs_final(self, board: BoardIdentity) -> bool:
        """The manufacturing firmware may say `sealed` too: what runs, `fw` alone tells."""
        if self._firmware is None:
            return True
        return dict(board.firmware) == chip.components(self._firmware.bundle.manifest, final=True)

    async def _prepare_first_boot(self) -> None:
        flashing = await self._flashing()
        stage = chip.stage(flashing.report)
        if stage is Stage.OPEN and not await flashing.stands():
            detail = "the chip does not hold the final layout: seal comes first"
            raise BoardError("bad_state", detail, retryable=True)
        if stage is Stage.LOCKING:
            await flashing.mend(None)

    async def _watch(self, on_progress: OnProgress | None) -> None:
        """Starts the chip and watches its console until the application says that it is locked."""
        console = Console()
        told = -1

        def done(board: BoardIdentity | None) -> bool:
            nonlocal told
            if self._is_done(board):
                return True
            if board is not None and not self._runs_final(board):
                raise BoardError(
                    "firmware_differs",
                    "other firmware started than the bundle's application",
                    remedy="Present the board again. If it fails again, put it aside.",
                )
            if console.failure is not None:
                raise console.failure
            if on_progress is not None and console.percent > told:
                told = console.percent
                on_progress(told, 100)
            return False

        self._port.known.report = None  # it is of a chip that was open
        try:
            await self._port.boot(self._options.first_boot_timeout_s, done, console)
        except LineError as error:
            if error.code != "no_answer":
                raise
            detail = f"the first boot did not end; the console came to {console.percent} %"
            raise BoardError("first_boot_slow", detail, retryable=True) from error
        if on_progress is not None:
            on_progress(100, 100)

    # eFuses

    def _burns(self, *, after_first_boot: bool) -> tuple[Burn, ...]:
        burns = self._require_firmware().bundle.manifest.burns
        return tuple(burn for burn in burns if burn.after_first_boot is after_first_boot)

    def _silences(self, burns: Sequence[Burn]) -> bool:
        """True if the loader answers nothing any more once these stand: the last of them sees to it."""
        return bool(burns) and burns[-1].name in _SILENCING

    def _is_closed(self, burns: Sequence[Burn]) -> bool:
        """True if the last burn, which closes the way to the chip, stands: the others were read back then."""
        known = self._port.known
        if burns[-1].name == _SECURE_DOWNLOAD:
            return known.report is not None and known.report.secure_download
        return self._silences(burns) and known.loader_closed and not known.loader_answers

    async def _burn(self, burns: Sequence[Burn]) -> None:
        """Burns what is missing, each read back before the next; then a new connection reads all back."""
        if not burns:
            return
        mac = (await self._port.in_loader()).mac
        if mac is None:
            raise BoardError("burn_failed", "the chip's eFuses can be neither read nor burned any more")
        loader = self._port.loader
        if all(await loader.burned(burns)):
            return
        if self._silences(burns):
            self._port.known.loader_answers = False  # whether it is burned, its silence tells from now on
        await loader.burn(mac, burns)
        await loader.close()
        await self._confirm(burns)

    async def _confirm(self, burns: Sequence[Burn]) -> None:
        before, known = self._port.known.report, self._port.known
        try:
            report = await self._port.in_loader()
        except LineError as error:
            # All but the last were read back; the last is what makes the loader silent.
            if error.code == "no_answer" and self._silences(burns):
                known.loader_closed = True
                return
            raise
        if report.secure_download and burns[-1].name == _SECURE_DOWNLOAD:
            if before is not None:  # says more than a chip in this mode does
                known.report = before.model_copy(update={"secure_download": True})
            return
        if report.mac is None or not all(await self._port.loader.burned(burns)):
            # The power may have failed at the last one, whose answer nobody waits for.
            detail = "an eFuse that was burned does not read back"
            remedy = "Present the board again. If it fails again, put it aside."
            raise BoardError("burn_failed", detail, retryable=True, remedy=remedy)

    async def _burn_after(self, burns: Sequence[Burn]) -> None:
        """What goes after the first boot; then the firmware again.

        A loader that answered before, and falls silent before its last eFuse was burned, has lost contact.
        """
        known = self._port.known
        try:
            report = await self._port.in_loader()
        except LineError as error:
            if error.code != "no_answer" or not self._silences(burns) or known.loader_answers:
                raise
            known.loader_closed = True
            report = None
        if report is not None and not self._is_closed(burns):
            if known.board is not None:
                chip.check_silicon(report, known.board, self._require_firmware().bundle.manifest)
            await self._burn(burns)
        await self._port.boot(self._options.boot_timeout_s, self._is_done)
