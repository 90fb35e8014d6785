"""What the key holder costs as a service, beside one that is signerd's child, in one run on one machine.

Both installations run at once and are loaded in turn, so that what else the machine does falls on both. CPU
is that of signerd, of the service, and of the processes with the tokens. Boards are made many at once; what
the service adds to a certificate is seen in one `SignCsr` after the other: two notes of it are on the disk
before anything is signed, the certificate's and the checkpoint's. What one note takes, alone, is `note_ms`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.jobs import lift_rate_limits, run_job
from bench.run import WARM_UP
from harness.factory import Factory
from harness.held_factory import HeldFactory
from harness.installation import SENSOR, order_toml
from harness.process import Program
from signerd.adapters.keyholder.service.notes import About, Notes, create_notes, note_checkpoint
from signerd.core.note import Checkpoint

ROUNDS = 5
BOARDS = 300
AT_ONCE = 16
ALONE = 100
NOTES = 500
_ORDER = "WO-service"


class _Filled(Factory):
    """Chips, and an order for all of them, that is open before a service takes the keys over."""

    def _fill(self) -> None:
        lift_rate_limits(self.installation.config)
        self.installation.process.stop()
        self.installation.start_signerd()
        self.installation.add_product(SENSOR)
        self.station = self.installation.add_station("plant1", "pc1")
        count = ROUNDS * (BOARDS + ALONE + 2 * WARM_UP)
        keys = self.installation.personalize([f"service-{number}" for number in range(count)])
        self._chips = iter(keys.items())
        pattern = "service-{number:06d}"
        stations = [self.station.uri]
        self.installation.open_order(
            order_toml(_ORDER, quantity=count, stations=stations, serial_pattern=pattern)
        )

    def load(self, what: str, at_once: int, operations: int) -> dict[str, Any]:
        """Rate, latencies, and CPU milliseconds an operation."""
        before = self._cpu_s()
        count = operations + WARM_UP
        job = {
            "target": self.installation.target,
            "ca": self.station.operations_ca_file.read_text(encoding="ascii"),
            "key": self.station.key_file.read_text(encoding="ascii"),
            "certificate": self.station.certificate_file.read_text(encoding="ascii"),
            "work_order": _ORDER,
            "chips": [(chip, key.hex()) for chip, key in (next(self._chips) for _ in range(count))],
            "runs": [(what, at_once, operations)],
        }
        (rate,) = run_job("bench.signerd_load", job)
        return {**rate, "cpu_ms": 1000 * (self._cpu_s() - before) / count}

    def _cpu_s(self) -> float:
        return sum(map(_cpu_s, self.programs()))

    def programs(self) -> Iterator[Program]:
        """Those whose CPU counts, with what they started."""
        yield self.installation.process


class Child(_Filled):
    """signerd starts its key holder itself."""


class Service(_Filled, HeldFactory):
    """The same, and then `signerd key-holder take-over`."""

    def programs(self) -> Iterator[Program]:
        """The service too."""
        yield self.installation.process
        yield self.service


def _cpu_s(program: Program) -> float:
    process = psutil.Process(program.pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def _note_ms(path: Path) -> float:
    """Of a service that notes one thing after the other."""
    create_notes(path, About("main", "dev", "log"))
    kept = Notes.open(path)
    kept.start()
    took = []
    for size in range(1, NOTES + 1):
        begun = time.perf_counter()
        checkpoint = Checkpoint("log", size, size.to_bytes(32))
        await kept.note(
            lambda connection, new=checkpoint: note_checkpoint(connection, new, 1)  # type: ignore[misc]
        )
        took.append(time.perf_counter() - begun)
    await kept.close()
    return 1000 * median(took)


def measure_service(folder: Path) -> dict[str, Any]:
    """Medians over the rounds of both, and their ratios."""
    boards: dict[str, list[dict[str, Any]]] = {"child": [], "service": []}
    alone: dict[str, list[dict[str, Any]]] = {"child": [], "service": []}
    with ExitStack() as stack:
        sides: dict[str, _Filled] = {
            "child": stack.enter_context(Child(folder / "child")),
            "service": stack.enter_context(Service(folder / "service")),
        }
        for number in range(ROUNDS):
            for name in list(sides) if number % 2 else list(reversed(sides)):
                boards[name].append(sides[name].load("boards", AT_ONCE, BOARDS))
                alone[name].append(sides[name].load("sign", 1, ALONE))
    note_ms = asyncio.run(_note_ms(folder / "notes.sqlite"))
    found: dict[str, Any] = {"rounds": ROUNDS, "at_once": AT_ONCE, "note_ms": round(note_ms, 3)}
    for figure, runs, key, digits in (
        ("boards_per_s", boards, "per_s", 1),
        ("cpu_ms", boards, "cpu_ms", 3),
        ("sign_ms", alone, "p50_ms", 3),
    ):
        child, service = (median(run[key] for run in runs[name]) for name in ("child", "service"))
        found[figure] = {
            "child": round(child, digits),
            "service": round(service, digits),
            "ratio": round(service / child, 3),
        }
    return found


if __name__ == "__main__":
    json.dump(measure_service(Path(json.load(sys.stdin)["folder"])), sys.stdout, indent=2)
