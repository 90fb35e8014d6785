"""Every clock of a test's processes, moved by years: libfaketime in each of them, key holders too.

    time = MovedTime(directory)
    with time.in_children(monkeypatch):
        time.move_to(datetime(2031, 1, 1, tzinfo=UTC))      # for processes that start from now on

Seconds since boot stay as they are, as on a machine that was off. This process keeps its own time.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.process import run
from tokens import presence


def missing() -> str | None:
    """Why a test cannot run here; None if it can."""
    return presence.missing("libfaketime", libfaketime=_library())


def _library() -> Path | None:
    return presence.library("faketime/libfaketime.so.1")


_SITE = Path(__file__).with_name("moved_time_site")


class MovedTime:
    """At first the time that it is."""

    def __init__(self, directory: Path) -> None:
        self._offset = directory / "moved-by"
        self._offset.write_text("+0", encoding="ascii")
        self.moved = timedelta()

    @property
    def environment(self) -> dict[str, str]:
        """For a process and its children, and for the settings of the HSM's module."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def in_children(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on every process that this one starts has the moved time."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", str(_SITE))

    def move_by(self, by: timedelta) -> None:
        """For processes that start from now on; those that run see it within ten seconds."""
        self.moved += by
        self._offset.write_text(f"+{int(self.moved.total_seconds())}", encoding="ascii")

    def now(self) -> datetime:
        """As the children see it."""
        return datetime.now(UTC) + self.moved

    def seen(self) -> datetime:
        """What a child says."""
        said = run([sys.executable, "-c", "import time; print(time.time())"])
        return datetime.fromtimestamp(float(said), UTC)
