"""What running processes take of the machine: CPU seconds, and resident memory at its largest."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from harness.process import Program


@dataclass(slots=True)
class Use:
    """Of one process, or of some together."""

    cpu_s: float = 0.0
    peak_mb: float = 0.0

    def as_json(self) -> dict[str, float]:
        """For the report."""
        return {"cpu_s": round(self.cpu_s, 2), "peak_mb": round(self.peak_mb, 1)}


class Watch:
    """A program and the processes that it starts. Call `look` often: between two looks nothing is seen."""

    def __init__(self, program: Program) -> None:
        self._program = psutil.Process(program.pid)
        self._own = Use()
        self._children: dict[int, float] = {}  # CPU seconds by pid
        self._children_mb = 0.0

    def look(self) -> None:
        """Takes the figures of now; those of a program that has ended stay as they were."""
        try:
            _take(self._own, self._program)
            children = self._program.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        resident = 0.0
        for child in children:
            use = Use()
            try:
                _take(use, child)
            except psutil.NoSuchProcess:
                continue
            self._children[child.pid] = use.cpu_s
            resident += use.peak_mb
        self._children_mb = max(self._children_mb, resident)

    @property
    def own(self) -> Use:
        """The program alone."""
        return self._own

    @property
    def children(self) -> Use:
        """All that it started, together."""
        return Use(sum(self._children.values()), self._children_mb)


def _take(use: Use, process: psutil.Process) -> None:
    with process.oneshot():
        times = process.cpu_times()
        use.cpu_s = times.user + times.system
        use.peak_mb = max(use.peak_mb, process.memory_info().rss / 1e6)
