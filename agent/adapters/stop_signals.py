"""Being told to stop, on every system: SIGINT, SIGTERM, and Ctrl-Break on Windows.

Plain handlers are used instead of the event loop's, which Windows does not have. The first signal asks
for an orderly end; the second does not wait for boards.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def _stop_signals() -> list[signal.Signals]:
    signals = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        signals.append(signal.SIGBREAK)
    return signals


@contextmanager
def on_stop(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Calls `first`, then `second`, in the event loop of the calling task, when a signal comes."""
    loop = asyncio.get_running_loop()
    calls = [second, first]

    def handler(_number: int, _frame: FrameType | None) -> None:
        if calls:
            loop.call_soon_threadsafe(calls.pop())

    before = {number: signal.signal(number, handler) for number in _stop_signals()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
