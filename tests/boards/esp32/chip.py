"""A simulated chip of the ESP32 family: ROM loader, flash and eFuses on a pty, and a place for what it boots.

Guarantees: what is in flash and eFuses survives resets, power cuts and (with files) restarts of the
simulator; everything else is lost at a reset. `PowerLost`, wherever it is raised, turns the chip off.
Firmware is another module's work: it implements `Machine`.

    supply = PowerSupply()
    chip = Chip(FAMILIES["esp32c3"], flash=Flash(4 << 20, supply=supply), efuses=Efuses(...), supply=supply,
                machine=EmptyFlash(), link=Path("/tmp/line/port0"))
    await chip.start()      # /tmp/line/port0 is the serial port, /tmp/line/port0.control the buttons
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from boards.esp32 import slip
from boards.esp32.busy import Busy
from boards.esp32.commands import SYNC_WIRE
from boards.esp32.control import Control, UnknownCommandError
from boards.esp32.efuses import Efuses
from boards.esp32.family import Family
from boards.esp32.flash import Flash
from boards.esp32.machine import Cause, EmptyFlash, Machine, State
from boards.esp32.port import SerialPort
from boards.esp32.power import PowerLost, PowerSupply
from boards.esp32.rom import Leave, Loader
from boards.esp32.slip import SlipDecoder

__all__ = ["CONSOLE_BAUD", "Cause", "Chip", "EmptyFlash", "Machine", "State"]

CONSOLE_BAUD = 115_200
_SYNC_TAIL = len(SYNC_WIRE) - 1  # bytes kept so that a SYNC cut in two is seen
# 2000 ticks of the slow clock (136 kHz), as esptool sets it. Not scaled: the host locks it meanwhile.
_WATCHDOG_S = 0.015


class Chip:
    """One chip on one serial port.

    Arguments: `link`, the path under which the port appears (a symbolic link to a pty), beside which `link` +
    ".control" is the FIFO of the buttons; `time_scale`, by which simulated seconds are multiplied: 1 is real
    time, 0 makes line, flash and boot take no time.
    """

    def __init__(
        self,
        family: Family,
        *,
        flash: Flash,
        efuses: Efuses,
        supply: PowerSupply,
        machine: Machine,
        link: Path,
        time_scale: float = 0.0,
    ) -> None:
        self.family = family
        self.flash = flash
        self.efuses = efuses
        self.supply = supply
        self.time_scale = time_scale
        self.state = State.OFF
        self.resets = 0
        self._machine = machine
        self._port = SerialPort(link, self._came, time_scale=time_scale)
        self._control = Control(link.with_name(link.name + ".control"), self._pressed)
        self._loader = Loader(family, flash, efuses)
        self._slip = SlipDecoder()
        self._tail = b""
        self._arrived: asyncio.Queue[tuple[float, int, bytes]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: Exception | None = None

    # --- life

    async def start(self) -> None:
        """Plugs the port in, powers the chip on and begins to answer."""
        self.loop = asyncio.get_running_loop()
        self._control.open()
        self.plug()
        self._serving = self.loop.create_task(self._serve())
        self.power_on()

    async def stop(self) -> None:
        """Ends the simulation; flash and eFuses stay as they are.

        Raises what went wrong inside since `start`: a button that is not there, an error of the machine.
        """
        self.power_off()
        self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        self.unplug()
        self._control.close()
        if self._failed is not None:
            raise self._failed

    # --- the buttons

    def plug(self) -> None:
        """The port appears. A chip that was off because it was pulled out stays off until `power_on`."""
        self._port.plug()

    def unplug(self) -> None:
        """The port vanishes, for whoever has it open too."""
        self._port.unplug()

    def power_on(self) -> None:
        """Supplies the chip; nothing happens if it is on."""
        if self.state is State.OFF:
            self._restart(Cause.POWER_ON, download=False)

    def power_off(self) -> None:
        """Takes the supply away, and with it a cut that was due."""
        self._lose_ram()
        self._drop_arrived()
        self.supply.cut_after()
        self.state = State.OFF

    def reset(self, cause: Cause, *, download: bool = False) -> None:
        """Starts the chip anew; `download`: with the boot button held. Nothing happens without power."""
        if self.state is not State.OFF:
            self._drop_arrived()
            self._restart(cause, download=download)

    def replace_machine(self, machine: Machine) -> None:
        """Puts another machine into a chip that is off."""
        if self.state is not State.OFF:
            raise RuntimeError("the chip is on")
        self._machine = machine

    # --- for the machine

    def send(self, data: bytes) -> None:
        """Writes to the UART. What nobody reads is lost, as on a line."""
        self._port.send(data)

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return self.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Waits so many simulated seconds."""
        await asyncio.sleep(seconds * self.time_scale)

    @property
    def busy(self) -> Busy:
        """When the line, the loader or the machine was at work."""
        return self._port.busy

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Runs a coroutine of the machine until it ends or RAM is lost."""
        task = self.loop.create_task(self._guarded_work(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: work.close())  # cancelled before it began: nothing awaits it

    # --- inside

    def _restart(self, cause: Cause, *, download: bool) -> None:
        self._lose_ram()
        self.resets += 1
        self.efuses.load()
        self._port.baud = CONSOLE_BAUD
        if not download:
            self.state = State.RUN
            self._guarded(partial(self._machine.power_on, self, cause))
        elif self.efuses.download_disabled:
            self.state = State.HALTED
        else:
            self.state = State.LOADER
            self._loader.reset()

    def _drop_arrived(self) -> None:
        while not self._arrived.empty():
            self._arrived.get_nowait()

    def _lose_ram(self) -> None:
        if self.state is State.RUN:
            self._machine.stop()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._port.drop_pending()
        self._slip.clear()
        self._tail = b""

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PowerLost:
            self.power_off()

    async def _guarded_work(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except PowerLost:
            self.power_off()
        except Exception as error:  # noqa: BLE001 # told by `stop`: nobody awaits this task
            self._failed = self._failed or error

    def _came(self, due: float, rate: int, data: bytes) -> None:
        # A button that was pressed before these bytes were written is felt before them.
        self._control.poll()
        self._arrived.put_nowait((due, rate, data))

    async def _serve(self) -> None:
        while True:
            due, rate, data = await self._arrived.get()
            if (wait := due - self.loop.time()) > 0:
                await asyncio.sleep(wait)
            data = self._enter_loader(rate, data)
            if not self._port.understands(rate):
                continue
            if self.state is State.RUN:
                self._guarded(partial(self._machine.received, data))
            elif self.state is State.LOADER:
                resets = self.resets
                for frame in self._slip.feed(data):
                    if self.resets == resets:
                        await self._command_frame(frame)

    def _enter_loader(self, rate: int, data: bytes) -> bytes:
        """Sees a SYNC where none is expected; what is then the loader's.

        A pty has no lines for reset and boot straps: a SYNC while firmware runs, or at another rate than the
        chip's (a host that begins anew), stands for them. It is how esptool finds the chip without a command.
        """
        if self.state not in {State.RUN, State.LOADER}:
            return data
        if self.state is State.LOADER and self._port.understands(rate):
            return data
        seen = self._tail + data
        at = seen.find(SYNC_WIRE)
        self._tail = seen[-_SYNC_TAIL:]
        if at < 0 or self.efuses.download_disabled:
            return data
        self._restart(Cause.PIN, download=True)
        self._port.baud = rate
        return seen[at:]

    async def _command_frame(self, frame: bytes) -> None:
        if self.state is not State.LOADER:
            return
        if self._loader.forbidden():
            self.state = State.HALTED
            return
        resets = self.resets
        try:
            took = self._loader.handle(frame)
        except PowerLost:
            self.power_off()
            return
        await self._work(took.before_s)
        if self.resets != resets or self.state is not State.LOADER:
            return
        for reply in took.frames:
            self._port.send(slip.encode(reply))
        if took.baud is not None:
            self._port.baud = self._loader.registers.baud = took.baud
        await self._work(took.after_s)
        if took.leave is not None and self.resets == resets:
            self._leave(took.leave)

    async def _work(self, seconds: float) -> None:
        begin = self.loop.time()
        self.busy.add(begin, begin + seconds * self.time_scale)
        await self.sleep(seconds)

    def _leave(self, leave: Leave) -> None:
        if leave is Leave.TO_ROM:
            self._loader.reset()
            self._port.baud = CONSOLE_BAUD
        elif leave is Leave.RUN:
            self.reset(Cause.SOFTWARE)
        else:
            self.loop.call_later(_WATCHDOG_S, self._bite, self.resets)

    def _bite(self, resets: int) -> None:
        if self.resets == resets:
            self.reset(Cause.WATCHDOG)

    def _pressed(self, words: list[str]) -> None:
        try:
            self.press(words)
        except UnknownCommandError as error:  # in the loop's callback nobody would hear of it
            self._failed = self._failed or error

    def press(self, words: list[str]) -> None:
        """What the control FIFO takes, as words. Raises `UnknownCommandError`."""
        match words:
            case ["reset", "run"]:
                self.reset(Cause.PIN)
            case ["reset", "download"]:
                self.reset(Cause.PIN, download=True)
            case ["power", "off"]:
                self.power_off()
            case ["power", "on"]:
                self.power_on()
            case ["unplug"]:
                self.unplug()
            case ["plug"]:
                self.plug()
            case ["cut", "flash", count] if count.isdecimal():
                self.supply.cut_after(flash_bytes=int(count))
            case ["cut", "efuse", count] if count.isdecimal():
                self.supply.cut_after(efuse_words=int(count))
            case ["cut", "none"]:
                self.supply.cut_after()
            case _:
                raise UnknownCommandError(" ".join(words))
