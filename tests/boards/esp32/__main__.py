"""Runs simulated ESP32 chips on ptys until SIGTERM: `PYTHONPATH=tests python -m boards.esp32 --chip esp32s3`.

Writes a JSON line a chip, `{"board": 0, "chip": "7c:df:a1:00:00:01", "port": "/tmp/line/port-0",
"control": "/tmp/line/port-0.control"}`, then, when each has started firmware or has none, `{"ready": 1}`.
Reads commands from standard input, a JSON line each, and answers each with a line:

    {"board": 0, "press": "reset download"}        a button, as boards/esp32/control.py lists them:
                                                   reset, power, unplug, plug, cut
    {"board": 0, "faults": [{"kind": "silent"}]}   replaces its firmware's faults (boards/faults.py)
    {"board": 0, "exchange": true}                 a new chip, with the next MAC, in its place
    {"board": 0, "show": true}                     what it holds and does
    {"board": 0, "busy": true}                     when it or its line was at work (boards/esp32/busy.py)

Chips in `--state-dir` survive a restart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from boards import farm
from boards.esp32.boot import BootOptions
from boards.esp32.control import UnknownCommandError
from boards.esp32.family import FAMILIES
from boards.esp32.farm import FIRST_MAC, FarmChip, FarmOptions, make_chip, stage_of_bundle
from boards.esp32.firmware import FirmwareOptions

PRESETS = {
    "empty": "nothing in flash",
    "current": "a bundle's manufacturing stage",
    "locked": "the same, and the chip has locked itself at a place before this factory",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="boards.esp32", description="Simulated ESP32 chips on ptys")
    preset_help = "new chips: " + "; ".join(f"{name}: {meaning}" for name, meaning in PRESETS.items())
    parser.add_argument("--chip", choices=sorted(FAMILIES), required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--link-dir", type=Path, required=True, help="ports and control FIFOs appear here")
    parser.add_argument("--state-dir", type=Path, help="keeps flash and eFuses over restarts")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="empty", help=preset_help)
    parser.add_argument("--bundle", type=Path, help="whose images chips that are not empty hold")
    parser.add_argument("--secrets", type=Path, help="CSV of base MAC,hexkey: K_chip, burned into new chips")
    parser.add_argument("--first-mac", default=f"{FIRST_MAC:012x}", help="12 hexadecimal digits")
    parser.add_argument("--flash-size", type=int, default=4, help="MB, a power of two")
    parser.add_argument("--time-scale", type=float, default=0.0, help="of line and flash: 1 real, 0 none")
    parser.add_argument("--boot-seconds", type=float, default=0.0)
    parser.add_argument("--first-boot-seconds", type=float, default=0.0, help="encrypting flash in place")
    parser.add_argument("--keygen-seconds", type=float, default=0.0)
    parser.add_argument("--key-types", default="p256,p384,rsa2048,rsa3072,rsa4096")
    parser.add_argument("--buffer", type=int, default=1024, help="largest SMP message that a board takes")
    parser.add_argument("--no-pop", action="store_true", help="boards have no proof-of-possession code")
    parser.add_argument("--faults", default="{}", help='JSON: {"0": [{"kind": "silent", "times": 1}]}')
    arguments = parser.parse_args()
    if (arguments.preset != "empty") != (arguments.bundle is not None):
        parser.error("a --bundle belongs to each --preset but empty, and to no other")
    return arguments


def _options(arguments: argparse.Namespace) -> FarmOptions:
    firmware = FirmwareOptions(
        key_types=tuple(arguments.key_types.split(",")),
        keygen_s=arguments.keygen_seconds,
        buffer=arguments.buffer,
        pop=not arguments.no_pop,
    )
    boot = BootOptions(
        boot_s=arguments.boot_seconds, first_boot_s=arguments.first_boot_seconds, firmware=firmware
    )
    return FarmOptions(
        arguments.chip,
        link_dir=arguments.link_dir,
        state_dir=arguments.state_dir,
        flash_size=arguments.flash_size << 20,
        first_mac=int(arguments.first_mac, 16),
        time_scale=arguments.time_scale,
        stage=_stage(arguments),
        secrets={} if arguments.secrets is None else dict(farm.read_secrets(arguments.secrets)),
        boot=boot,
        faults={int(number): faults for number, faults in json.loads(arguments.faults).items()},
    )


def _stage(arguments: argparse.Namespace) -> dict[int, bytes]:
    if arguments.bundle is None:
        return {}
    return stage_of_bundle(arguments.bundle, locking=arguments.preset == "locked")


def _say(item: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(item) + "\n")
    sys.stdout.flush()


class _Line:
    """The chips, and what standard input tells them."""

    def __init__(self, options: FarmOptions, count: int) -> None:
        self._options = options
        self._chips = [make_chip(number, options) for number in range(count)]
        self._next_mac = options.first_mac + count
        self._commands: asyncio.Queue[str] = asyncio.Queue()

    async def run(self, stopped: asyncio.Event) -> None:
        """Until `stopped`."""
        for number, chip in enumerate(self._chips):
            await chip.start()
            control = f"{chip.link}.control"
            _say({"board": number, "chip": chip.mac, "port": str(chip.link), "control": control})
        for chip in self._chips:
            await chip.chain.settled.wait()
        _say({"ready": len(self._chips)})
        obeying = asyncio.create_task(self._obey())
        reader = threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True)
        reader.start()
        await stopped.wait()
        obeying.cancel()
        await asyncio.wait([obeying])
        for chip in self._chips:
            await chip.stop()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in a thread until standard input ends; the chips go on without it."""
        rest = b""
        while data := os.read(sys.stdin.fileno(), 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                loop.call_soon_threadsafe(self._commands.put_nowait, line.decode())

    async def _obey(self) -> None:
        while True:
            line = await self._commands.get()
            try:
                answer = await self._command(json.loads(line))
            except (ValueError, KeyError, IndexError, TypeError, UnknownCommandError) as error:
                answer = {"ok": False, "error": str(error)}
            _say(answer)

    async def _command(self, command: dict[str, object]) -> dict[str, object]:
        number = command["board"]
        if not isinstance(number, int):
            raise TypeError("board is a number")
        chip = self._chips[number]
        if "press" in command:
            chip.chip.press(str(command["press"]).split())
        if "faults" in command:
            faults = command["faults"]
            if not isinstance(faults, list):
                raise TypeError("faults is a list")
            chip.set_faults(faults)
        if command.get("exchange"):
            chip = await self._exchange(number)
        if command.get("busy"):
            return {"ok": True, "busy": chip.chip.busy.spans}
        state = {"chip": chip.mac, "state": chip.chip.state.value}
        return {"ok": True, **(chip.show() if command.get("show") else state)}

    async def _exchange(self, number: int) -> FarmChip:
        await self._chips[number].stop()
        options = replace(self._options, faults={})
        chip = self._chips[number] = make_chip(number, options, mac=self._next_mac)
        self._next_mac += 1
        await chip.start()
        return chip


async def _run(arguments: argparse.Namespace) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stopped.set)
    await _Line(_options(arguments), arguments.count).run(stopped)


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
