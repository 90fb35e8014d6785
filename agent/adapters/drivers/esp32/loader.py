"""The chip's loader, as the driver uses it: the worker's commands with their types, deadlines and resets.

Whatever writes or burns names the chip that it is for, and the worker compares the MAC of its connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from agent.adapters.child_process import end_group
from agent.adapters.drivers.esp32.chip import ChipReport, parse_report
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.esp32.plan import Piece, Region
from agent.adapters.drivers.esp32.worker_process import Worker
from agent.core.bundle import Burn
from agent.errors import LineError
from agent.ports import Firmware, OnProgress

_CLOSE_TIMEOUT_S = 5.0
_ALIVE_TIMEOUT_S = 5.0  # esptool waits 3 s for an answer
_MD5_LENGTH = 32


class Loader:
    """One chip in download mode, or none."""

    def __init__(self, port: str, options: Esp32Options, worker: Worker) -> None:
        self._port = port
        self._options = options
        self._worker = worker
        self._flash_size: int | None = None
        self._prepared = False
        self.connected = False

    async def open(self, attempts: int | None = None) -> ChipReport:
        """Resets the chip into download mode and asks what it is.

        Raises:
            LineError: `no_answer` where none is; or the port's trouble.
        """
        attempts = self._options.connect_attempts if attempts is None else attempts
        self.connected = self._prepared = False
        if not self._options.reset_command:
            return await self._open(self._options.before, attempts)
        for left in range(attempts, 0, -1):
            await self.close()
            await self._press("download")
            try:
                return await self._open("no-reset", 1)
            except LineError as error:
                if error.code != "no_answer" or left == 1:
                    raise
        raise LineError("no_answer", "no attempt to connect was allowed")

    async def _open(self, before: str, attempts: int) -> ChipReport:
        fields = {"port": self._port, "before": before, "attempts": attempts}
        report = parse_report(await self._worker.ask("open", fields, self._options.connect_timeout_s))
        self.connected = True
        return report

    async def prepare(self) -> int | None:
        """Starts the stub and attaches the flash; returns its size, bytes, None where it is not known."""
        if not self._prepared:
            answer = await self._ask("prepare", {"baudrate": self._options.flash_baudrate})
            size = answer.get("flash_size")
            self._flash_size = size if type(size) is int else None
            self._prepared = True
        return self._flash_size

    async def digests(self, regions: Sequence[Region]) -> list[str]:
        """MD5s, hex, of regions of flash."""
        if not regions:
            return []
        pairs = [[region.offset, region.size] for region in regions]
        match await self._ask("digests", {"regions": pairs}):
            case {"md5": [*answers]} if len(answers) == len(regions) and all(
                isinstance(one, str) and len(one) == _MD5_LENGTH for one in answers
            ):
                return [str(one) for one in answers]
        raise LineError("worker_junk", "the worker answers no MD5s")

    async def read(self, offset: int, size: int) -> bytes:
        """Some bytes of flash, at most 4,096."""
        answer = await self._ask("read", {"offset": offset, "size": size})
        try:
            data = bytes.fromhex(str(answer.get("data")))
        except ValueError as error:
            raise LineError("worker_junk", "the worker reads no bytes") from error
        if len(data) != size:
            raise LineError("worker_junk", f"the worker reads {len(data)} bytes instead of {size}")
        return data

    async def write(
        self, mac: str, pieces: Sequence[Piece], firmware: Firmware, on_progress: OnProgress | None
    ) -> None:
        """Writes pieces in their order, each verified by its MD5 on the chip."""
        if not pieces:
            return
        fields: dict[str, object] = {"mac": mac, "pieces": [_piece(piece, firmware) for piece in pieces]}
        await self._ask("write", fields, self._options.write_timeout_s, on_progress)

    async def burned(self, burns: Sequence[Burn]) -> list[bool]:
        """Which of them stand in the eFuses."""
        match await self._ask("burned", {"burns": _burns(burns)}):
            case {"burned": [*answers]} if len(answers) == len(burns):
                return [one is True for one in answers]
        raise LineError("worker_junk", "the worker reads no eFuses")

    async def burn(self, mac: str, burns: Sequence[Burn]) -> None:
        """Burns those that are missing, in their order, each read back before the next."""
        await self._ask("burn", {"mac": mac, "burns": _burns(burns)})

    async def alive(self) -> str | None:
        """The MAC of the chip that is in the loader now."""
        try:
            answer = await self._worker.ask("alive", {}, _ALIVE_TIMEOUT_S)
        except LineError:
            self.connected = self._prepared = False
            raise
        mac = answer.get("mac")
        return mac if isinstance(mac, str) else None

    async def leave(self) -> None:
        """Leaves the port to whoever speaks with the firmware. By DTR and RTS the firmware starts with it."""
        after = None if self._options.reset_command else self._options.after
        self.connected = self._prepared = False
        await self._worker.ask("run", {"after": after}, self._options.command_timeout_s)

    async def start(self) -> None:
        """Starts the firmware where the fixture's command does, once somebody listens on the port."""
        if self._options.reset_command:
            await self._press("run")

    async def close(self) -> None:
        """Leaves the port, and the chip as it is."""
        self.connected = self._prepared = False
        if self._worker.pid is not None:
            await self._worker.ask("close", {}, _CLOSE_TIMEOUT_S)

    async def _ask(
        self,
        command: str,
        fields: dict[str, object],
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> dict[str, object]:
        seconds = self._options.command_timeout_s if timeout_s is None else timeout_s
        done = False
        try:
            answer = await self._worker.ask(command, fields, seconds, on_progress)
            done = True
            return answer
        finally:
            if not done:  # what the chip is doing now nobody knows: the next step begins with a reset
                self.connected = self._prepared = False

    async def _press(self, button: str) -> None:
        """Runs the fixture's own command: BIRTHMARK_RESET is `run` or `download`."""
        environment = os.environ | {"BIRTHMARK_PORT": self._port, "BIRTHMARK_RESET": button}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._options.reset_command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # so that its children end with it
            )
        except OSError as error:
            raise LineError("reset_failed", f"the reset command does not start: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._options.reset_command_timeout_s):
                code = await process.wait()
        except TimeoutError as error:
            raise LineError("reset_failed", "the reset command does not end") from error
        finally:
            if process.returncode is None:
                await end_group(process)
        if code:
            raise LineError(
                "reset_failed", f"the reset command ended with {code}", remedy="Check the fixture."
            )


def _piece(piece: Piece, firmware: Firmware) -> dict[str, object]:
    target = piece.target
    if target.data is not None:
        return {"offset": target.offset + piece.start, "data": target.data[piece.start : piece.end].hex()}
    image = next(image for image in firmware.bundle.manifest.images if image.name == target.name)
    path: Path = firmware.images[target.name]
    return {
        "offset": target.offset,
        "path": str(path.resolve()),
        "sha256": image.sha256.hex(),
        "start": piece.start,
        "end": piece.end,
    }


def _burns(burns: Sequence[Burn]) -> list[list[object]]:
    return [[burn.name, burn.value] for burn in burns]
