"""One simulated chip of the ESP32 family, and the real tools run against it as commands.

async with Esp32Bench("esp32c3", tmp_path) as bench:
    said = await bench.esptool("chip-id")
    bench.chip.flash.read(0, 16)
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from boards.esp32.chip import Cause, Chip
from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import Flash
from boards.esp32.power import PowerSupply

FLASH_SIZE = 4 << 20
MAC = bytes.fromhex("7cdfa1000001")
_TOOL_DEADLINE_S = 120


class BenchError(AssertionError):
    """A tool did not end as expected."""


@dataclass
class Witness:
    """A machine that writes down what happens to it, and greets on the console."""

    greeting: bytes = b"hello\r\n"
    starts: list[Cause] = field(default_factory=list)
    heard: bytes = b""
    stops: int = 0

    def power_on(self, chip: Chip, cause: Cause) -> None:
        self.starts.append(cause)
        chip.send(self.greeting)

    def received(self, data: bytes) -> None:
        self.heard += data

    def stop(self) -> None:
        self.stops += 1


class Esp32Bench:
    """A chip whose flash and eFuses live in `folder`: a second bench there finds them as they were left."""

    def __init__(self, family: str, folder: Path, *, time_scale: float = 0.0) -> None:
        self.family = FAMILIES[family]
        self.folder = folder
        self.port = folder / "port"
        self.control = folder / "port.control"
        self.machine = Witness()
        self.supply = PowerSupply()
        self.chip = Chip(
            self.family,
            flash=Flash(FLASH_SIZE, supply=self.supply, path=folder / "flash.bin"),
            efuses=Efuses(self.family.efuses, mac=MAC, supply=self.supply, path=folder / "efuses.bin"),
            supply=self.supply,
            machine=self.machine,
            link=self.port,
            time_scale=time_scale,
        )
        self._empty = folder / "empty"  # esptool reads configuration files of its working directory
        self._empty.mkdir(exist_ok=True)

    async def __aenter__(self) -> Self:
        await self.chip.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.chip.stop()

    async def esptool(self, *arguments: str | Path, expect: int = 0) -> str:
        """Runs esptool on the chip; what it printed. Raises `BenchError` if its exit code is another."""
        return await self.run("esptool", "--port", self.port, *arguments, expect=expect)

    async def espefuse(self, *arguments: str | Path, expect: int = 0) -> str:
        """Runs espefuse on the chip, without asking back; what it printed."""
        port = ("--port", self.port, "--do-not-confirm")
        return await self.run("espefuse", *port, *arguments, expect=expect)

    async def run(self, module: str, *arguments: str | Path, expect: int = 0) -> str:
        """Runs one of the tools in an empty folder."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *map(str, arguments),
            cwd=self._empty, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            out, _ = await asyncio.wait_for(process.communicate(), _TOOL_DEADLINE_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = out.decode("utf-8", "replace")
        if process.returncode != expect:
            raise BenchError(f"{module} {arguments} ended with {process.returncode}, not {expect}:\n{text}")
        return text

    async def press(self, line: str) -> None:
        """Presses a button as a station's reset command does: a shell writes to the FIFO."""
        shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", f'echo {line} > "{self.control}"')
        if await shell.wait():
            raise BenchError(f"{line!r} could not be written")
