"""An installation with as many boards as are asked for, signerd on it, and an auditor's commands measured.

    with large_ledger(directory, 50_000) as ledger:
        run = ledger.auditor_runs("first", "verify")
        run.summary, run.cpu_s, run.wall_s, run.signerd_cpu_s, run.resident_mb

Times of CPU are user and system time of all processes of a command. Where other work goes on beside, they
stay about the same, and times by the clock do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.jobs import lift_rate_limits, run_job
from harness.installation import SENSOR, Installation, Peer, order_toml

WORK_ORDER = "WO-bulk"


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One command of the auditor, and what it took."""

    code: int
    lines: list[dict[str, Any]]
    errors: str
    wall_s: float
    cpu_s: float
    signerd_cpu_s: float
    resident_mb: float  # the most of any of its processes

    @property
    def summary(self) -> dict[str, Any]:
        """Its last line."""
        return self.lines[-1]


@dataclass(frozen=True, slots=True)
class LargeLedger:
    """Boards, each certified and stamped, in one work order."""

    installation: Installation
    auditor: Peer
    boards: int
    written: dict[str, float]  # what `bench.bulk_fill` says
    start_s: float  # of signerd, with these boards

    @property
    def tiles(self) -> Path:
        """Where signerd publishes."""
        return self.installation.home / "tiles"

    def desk(self, name: str) -> Path:
        """The directory of an auditor who has verified nothing unless a run of this name did."""
        desk = self.installation.directory / f"auditor-{name}"
        if not desk.exists():
            shutil.copytree(self.auditor.directory, desk)
        return desk

    def start(self, name: str, command: str, *options: str | Path) -> subprocess.Popen[str]:
        """Begins a command at that desk, in a group of processes of its own."""
        line: list[str | Path] = [self.installation.commands / "birthmark-auditor", command, "--json"]
        return subprocess.Popen(
            [*line, "--config", self.desk(name) / self.auditor.config.name, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def auditor_runs(self, name: str, command: str, *options: str | Path) -> MeasuredRun:
        """Runs it to its end."""
        before, began = self._signerd_cpu_s(), time.monotonic()
        running = self.start(name, command, *options)
        assert running.stdout is not None
        assert running.stderr is not None
        said, errors = running.stdout.read(), running.stderr.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        running.stdout.close()
        running.stderr.close()
        return MeasuredRun(
            running.returncode,
            [json.loads(line) for line in said.splitlines()],
            errors,
            time.monotonic() - began,
            used.ru_utime + used.ru_stime,
            self._signerd_cpu_s() - before,
            used.ru_maxrss / 1_024,
        )

    def state_bytes(self, name: str) -> int:
        """What an auditor's state takes on the disk."""
        return sum(file.stat().st_size for file in (self.desk(name) / "state").rglob("*") if file.is_file())

    def _signerd_cpu_s(self) -> float:
        used = psutil.Process(self.installation.process.pid).cpu_times()
        return used.user + used.system


@contextmanager
def large_ledger(directory: Path, boards: int) -> Iterator[LargeLedger]:
    """An installation that ends with the context."""
    with Installation(directory) as installation:
        lift_rate_limits(installation.config)
        installation.start_signerd()
        installation.add_product(SENSOR)
        station, auditor = installation.add_station("plant1", "pc1"), installation.add_auditor("enrolled")
        installation.open_order(
            order_toml(
                WORK_ORDER, quantity=boards, stations=[station.uri], serial_pattern="bulk-{number:07d}"
            )
        )
        installation.process.stop()
        job = {"config": str(installation.config), "station": station.uri, "work_order": WORK_ORDER}
        written = run_job("bench.bulk_fill", job | {"count": boards})
        began = time.monotonic()
        installation.start_signerd()
        yield LargeLedger(installation, auditor, boards, written, time.monotonic() - began)
