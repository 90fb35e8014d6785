# SPDX-License-Identifier: GPL-2.0-or-later
"""esptool's one logger of the process: texts are dropped unformatted, progress is counted and handed on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from esp_pylib.logger import EspLog, EspLogBase
from esptool import loader

_PAUSE_S = 0.1  # between two reports


class ProgressLogger(EspLogBase):
    """Counts the pieces that `write_flash` writes one after the other, each with a bar of its own."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self._report = report
        self._sizes: list[int] = []
        self._number = 0
        self._last_s = 0.0

    def begin(self, sizes: list[int]) -> None:
        """The pieces that come now, bytes each."""
        self._sizes, self._number, self._last_s = sizes, 0, 0.0

    def progress_bar(
        self,
        cur_iter: int,
        total_iters: int,
        prefix: str = "",  # noqa: ARG002 (the interface's, as the next two)
        suffix: str = "",  # noqa: ARG002
        bar_length: int = 30,  # noqa: ARG002
    ) -> None:
        """See `EspLogBase`. Counts in compressed bytes, of the piece that is written now."""
        if not self._sizes or total_iters <= 0 or self._number >= len(self._sizes):
            return
        part = self._sizes[self._number] * cur_iter // total_iters
        done, total = sum(self._sizes[: self._number]) + part, sum(self._sizes)
        if cur_iter >= total_iters:
            self._number += 1
        now_s = time.monotonic()
        if now_s - self._last_s >= _PAUSE_S or done == total:
            self._last_s = now_s
            self._report(min(done, total), total)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Dropped: nobody reads it."""

    def err(self, *args: Any, suggestion: str | None = None) -> None:
        """Dropped: the exception that follows says it."""

    def warn(self, *args: Any, suggestion: str | None = None) -> None:
        """Dropped."""

    def warning(self, *args: Any, suggestion: str | None = None) -> None:
        """Dropped; esptool's older name of `warn`."""

    def error(self, *args: Any, suggestion: str | None = None) -> None:
        """Dropped; esptool's older name of `err`."""

    def note(self, *args: Any) -> None:
        """Dropped."""

    def hint(self, *args: Any) -> None:
        """Dropped."""

    def debug(self, *args: Any) -> None:
        """Dropped."""

    def set_verbosity(self, mode: int | str) -> None:
        """There is nothing to set."""


class _NoDump:
    """In the place of esptool's dump of what goes over the line, for which it calls no logger.

    esptool 5.6 formats one of each block and each answer also where tracing is off: nine tenths of its CPU
    time while it writes, and the line waits for it.
    """

    def __init__(self, binary_string: bytes, auto_split: bool = True) -> None:  # noqa: FBT001, FBT002 (as there)
        """Keeps nothing."""

    def __str__(self) -> str:
        return ""


def install(report: Callable[[int, int], None]) -> ProgressLogger:
    """Makes it the process's logger."""
    logger = ProgressLogger(report)
    loader.HexFormatter = _NoDump  # one that does not look there any more does not mind
    EspLog.set_logger(logger)
    return logger
