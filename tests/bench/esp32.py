"""The ESP32 line on simulated chips, whose line and flash take the time that real ones take.

Three things are measured: the agent's `flash` beside `python -m esptool write-flash` of the same images, by
turns; what the station adds to the chip's own time, step by step; sixteen boards at once beside one alone.

The chip's own time is what its line, its loader and its boots took (`boards.esp32.busy`), and the time that
its key takes: what the simulator itself needs to answer counts as the station's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import Use, Watch
from boards.esp32.product import ProductImages
from boards.esp32.signing import SigningKey
from harness.esp32_line import BundleFile, Esp32Line, Esp32Run
from harness.process import Program, wait_until

FAMILY = "esp32s3"
FLASH_BAUD = 921_600  # the driver's default, and what the plain command is told
APP_BYTES = 1_000_000
KEYGEN_S = 3.0
TIMES: Mapping[str, Any] = {
    "time_scale": 1,
    "boot_seconds": 0.3,
    "keygen_seconds": KEYGEN_S,
    "first_boot_seconds": 5,
}
FLASHINGS = 3  # of each kind, in turn
AT_ONCE = 16
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Made:
    """One agent's run to its end."""

    run: Esp32Run
    agent: Watch
    chips: Watch

    @property
    def seconds(self) -> list[float]:
        """Of each board, from the first look at it to its verdict."""
        return [result["seconds"] for result in self.run.results()]

    def step(self, name: str) -> float:
        """Seconds of a step of the only board."""
        (result,) = self.run.results()
        return float(result["times"][name])


def run_esp32(folder: Path) -> dict[str, Any]:
    """All three, in about two minutes and a half."""
    folder.mkdir(parents=True, exist_ok=True)
    with Esp32Line(folder, FAMILY, SigningKey.make(folder)) as line:
        return {"flash": _flash(line), **_line(line)}


def _make(run: Esp32Run, *, expect: int = 0) -> Made:
    agent = run.start_agent()
    made = Made(run, Watch(agent), Watch(run.farm.program))
    wait_until(lambda: _ended(agent, made), "the agent to end", timeout_s=TIMEOUT_S)
    if agent.wait() != expect:
        raise RuntimeError(f"the agent failed: {agent.describe()}")
    return made


def _ended(agent: Program, made: Made) -> bool:
    made.agent.look()
    made.chips.look()
    return not agent.running()


# --- flashing


def _flash(line: Esp32Line) -> dict[str, Any]:
    """The same images onto empty chips, by turns. Boards end after `flash`: their keys are refused."""
    images = line.company.images(app_bytes=APP_BYTES)
    bundle = line.company.bundle("large", images)
    agent, plain, connect = [], [], []
    for _ in range(FLASHINGS):
        agent.append(_flash_by_agent(line, bundle))
        connected, written = _flash_by_esptool(line, images)
        connect.append(connected)
        plain.append(written)
    step, looked = median(one["flash_s"] for one in agent), median(one["identify_s"] for one in agent)
    command, connecting = median(one[0] for one in plain), median(one[0] for one in connect)
    return {
        "bytes": sum(len(image) for _, image in _stage(images)),
        "agent_identify_s": round(looked, 3),
        "agent_flash_s": round(step, 3),
        "agent_cpu_s": round(median(one["agent_cpu_s"] for one in agent), 2),
        "worker_cpu_s": round(median(one["worker_cpu_s"] for one in agent), 2),
        "plain_s": round(command, 3),
        "plain_connect_s": round(connecting, 3),
        "plain_cpu_s": round(median(one[1] for one in plain), 2),
        "ratio_whole": round((looked + step) / command, 3),
        "ratio_flash": round(step / (command - connecting), 3),
    }


def _flash_by_agent(line: Esp32Line, bundle: BundleFile) -> dict[str, float]:
    run = line.new_run(bundle=bundle, key_types="p384", time_scale=1)
    made = _make(run, expect=1)
    run.farm.program.stop()
    if [result["code"] for result in run.results()] != ["unsupported"]:
        raise RuntimeError(f"the board should end after its flash: {run.results()}")
    return {
        "identify_s": made.step("identify"),
        "flash_s": made.step("flash"),
        "agent_cpu_s": made.agent.own.cpu_s,
        "worker_cpu_s": made.agent.children.cpu_s,
    }


def _flash_by_esptool(
    line: Esp32Line, images: ProductImages
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Wall and CPU seconds: of connecting alone (interpreter, chip, MAC; no stub), and of all of it."""
    run = line.new_run(time_scale=1)
    port = run.farm.chips[0].port
    parts: list[str] = []
    for offset, image in _stage(images):
        path = run.installation.logs / f"{run.work_order}-{offset:x}.bin"
        path.write_bytes(image)
        parts += [hex(offset), str(path)]
    connected = _esptool(port, "--no-stub", "read-mac")
    run.farm.press(0, "reset run")
    written = _esptool(port, "--baud", str(FLASH_BAUD), "write-flash", *parts)
    run.farm.program.stop()
    return connected, written


def _stage(images: ProductImages) -> list[tuple[int, bytes]]:
    """What the agent writes to an empty chip: blank otadata stands there already."""
    blank = images.partition("otadata").offset
    return [(offset, image) for offset, image in images.manufacturing_stage.items() if offset != blank]


def _esptool(port: str, *words: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "esptool", "--chip", FAMILY, "--port", port]
    command += ["--before", "no-reset", "--after", "no-reset", *words]
    cpu_s, begun = _children_cpu_s(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"esptool failed:\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    return seconds, _children_cpu_s() - cpu_s


def _children_cpu_s() -> float:
    """Of processes that have ended and were waited for."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


# --- the whole way


def _line(line: Esp32Line) -> dict[str, Any]:
    """One alone, sixteen at once, one alone again: the ratio is to the faster of the two."""
    first = _make(line.new_run(**TIMES))
    way = _way(first)
    first.run.farm.program.stop()
    sixteen = _make(line.new_run(chips=AT_ONCE, **TIMES))
    sixteen.run.farm.program.stop()
    last = _make(line.new_run(**TIMES))
    alone_s = min(*first.seconds, *last.seconds)
    many = {
        "boards": AT_ONCE,
        "alone_s": round(alone_s, 3),
        "slowest_s": round(max(sixteen.seconds), 3),
        "ratio": round(max(sixteen.seconds) / alone_s, 3),
        "alone": _uses(first),
        "at_once": _uses(sixteen),
    }
    return {"way": way, "sixteen": many}


def _uses(made: Made) -> dict[str, Any]:
    parts: dict[str, Use] = {
        "agent": made.agent.own,
        "workers": made.agent.children,
        "simulator": made.chips.own,
    }
    return {name: use.as_json() for name, use in parts.items()}


def _way(made: Made) -> dict[str, Any]:
    """The only board's seconds, and of them the chip's."""
    busy = [(begin, end) for begin, end in made.run.farm.tell(0, busy=True)["busy"]]
    clock = time.time() - time.monotonic()
    steps: dict[str, dict[str, float]] = {}
    for event in made.run.events():
        if event["event"] != "step_done":
            continue
        end = datetime.fromisoformat(event["time"]).timestamp() - clock
        seconds = event["seconds"]
        chip = KEYGEN_S if event["step"] == "keygen" else _within(busy, end - seconds, end)
        steps[event["step"]] = {"seconds": seconds, "chip_s": round(min(chip, seconds), 3)}
    total, chip_s = max(made.seconds), sum(step["chip_s"] for step in steps.values())
    return {
        "seconds": round(total, 3),
        "chip_s": round(chip_s, 3),
        "station_s": round(total - chip_s, 3),
        "steps": steps,
    }


def _within(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)


def main() -> None:
    """These figures alone, as JSON: `PYTHONPATH=tests python -m bench.esp32 FOLDER`."""
    json.dump(run_esp32(Path(sys.argv[1])), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
