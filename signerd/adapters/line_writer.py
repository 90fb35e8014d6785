"""Lines on a descriptor that whoever writes them never waits for.

    lines = LineWriter(2)
    lines.write("…\\n")        # from any thread; returns at once
    lines.close()             # at the end: what is queued has CLOSE_S to get out

Guarantees that a reader that stalls, as a pipe that nobody empties or a journal that hangs does, holds up
nothing but lines: they wait in order, within a bound. What comes when they are too many is dropped and
counted, and a line in its place says how many, once the reader goes on.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from contextlib import suppress

MAX_QUEUED = 4 * 1024 * 1024  # characters that wait: some 15,000 lines
CLOSE_S = 2.0  # how long the end waits for a reader
GATHER_S = 0.02  # seconds; what comes meanwhile is one write: to be woken for each line costs the callers
_PIECE = 4096  # bytes: a pipe that is ready takes as many without waiting (PIPE_BUF, pipe(7))


class LineWriter:
    """A bounded queue before a descriptor, and the one thread that writes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._queued = 0  # characters
        self._lost = 0  # lines that could not be written, before those that wait
        self._dropped = 0  # lines that found no room, after those that wait
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_always, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Queues one line, or drops and counts it."""
        with self._changed:
            # Once one was dropped all are, until what waits is taken: the count stands in their place.
            if self._dropped or self._closing or self._queued + len(text) > MAX_QUEUED:
                self._dropped += 1
                return
            self._lines.append(text)
            self._queued += len(text)
            self._changed.notify()

    def flush(self) -> None:
        """Nothing: waiting is what this class spares its callers."""

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Gives what waits some seconds to get out. What does not is lost with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _write_always(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._dropped or self._closing)
                if not (self._lines or self._dropped):
                    return
            # While it sleeps nobody has to wake it. A process that is killed loses the lines of this time.
            time.sleep(GATHER_S)
            with self._changed:
                text, count = self._take()
            try:
                _write_all(self._descriptor, text.encode(errors="replace"))
            except OSError:  # the disk is full, or the reader has gone
                with self._changed:
                    self._lost += count

    def _take(self) -> tuple[str, int]:
        """All that waits, and what is to be said of the rest; and of how many lines this speaks."""
        text = _notice(self._lost) + "".join(self._lines) + _notice(self._dropped)
        count = self._lost + len(self._lines) + self._dropped
        self._lines.clear()
        self._queued = self._lost = self._dropped = 0
        return text, count


def _notice(count: int) -> str:
    if not count:
        return ""
    return json.dumps({"event": "log_lines_dropped", "level": "warning", "count": count}) + "\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            written = os.write(descriptor, data)
        except BlockingIOError:  # whoever started us left it so
            _ready(descriptor, None)
        else:
            data = data[written:]


def standard_error() -> int:
    """The descriptor for a log. Where the process was started without one, the next file that it opens would
    have that number, the database perhaps: then what is written goes nowhere."""
    if sys.stderr is None:
        return os.open(os.devnull, os.O_WRONLY)
    return sys.stderr.fileno()


def write_within(descriptor: int, text: str, timeout_s: float = CLOSE_S) -> None:
    """Writes as much of a text as the reader takes in time: for the last words of a process."""
    deadline = time.monotonic() + timeout_s
    data = text.encode(errors="replace")
    with suppress(OSError):
        while data and _ready(descriptor, max(0.0, deadline - time.monotonic())):
            data = data[os.write(descriptor, data[:_PIECE]) :]


def _ready(descriptor: int, timeout_s: float | None) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    return bool(waiting.poll(None if timeout_s is None else timeout_s * 1000))
