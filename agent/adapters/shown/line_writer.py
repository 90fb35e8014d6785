"""Lines for whoever reads standard output, at their own pace: no board waits for them.

    with LineWriter(sys.stdout.fileno()) as lines:
        JsonLines(lines)

A reader that stalls, as a collector that hangs or a pager does, holds up nothing but lines. They wait in
order, within a bound. What comes when they are too many is left out, and a line in its place says how many. A
reader that has gone, or a full disk, costs lines alone. What was written of a line then is ended by a line
feed, so that the next one stands by itself.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

MAX_WAITING = 4 * 1024 * 1024  # characters: some hundred boards
CLOSE_S = 5.0  # that the end waits for a reader
_AGAIN_S = 0.05  # whoever started us left the descriptor so that it takes nothing when it is full
_LOG = logging.getLogger(__name__)


class LineWriter:
    """A stream for `JsonLines`, and the one thread that writes. Use it as a context manager."""

    def __init__(self, descriptor: int, *, waiting: int = MAX_WAITING, close_s: float = CLOSE_S) -> None:
        self._descriptor = descriptor
        self._bound, self._close_s = waiting, close_s
        self._lines: list[str] = []
        self._waiting = 0  # characters
        self._lost = 0  # lines that could not be written, before those that wait
        self._dropped = 0  # lines that found no room, after those that wait
        self._torn = False  # the last line that was begun has no end
        self._failing = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_always, name="lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(self._close_s)

    def write(self, line: str) -> int:
        """Queues one line, or leaves it out and counts it. Returns at once."""
        with self._changed:
            # Once one was left out all are, until what waits is taken: the count stands in their place.
            if self._dropped or self._closing or self._waiting + len(line) > self._bound:
                self._dropped += 1
            else:
                self._lines.append(line)
                self._waiting += len(line)
                self._changed.notify()
        return len(line)

    def flush(self) -> None:
        """Nothing: waiting is what this class spares its callers."""

    def _write_always(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._dropped or self._closing)
                if not (self._lines or self._dropped):
                    return
                text, count = self._take()
            self._write_all(text.encode("ascii", "backslashreplace"), count)

    def _take(self) -> tuple[str, int]:
        """All that waits, and what is to be said of the rest; and of how many lines this speaks."""
        text = _notice(self._lost) + "".join(self._lines) + _notice(self._dropped)
        count = self._lost + len(self._lines) + self._dropped
        self._lines.clear()
        self._waiting = self._lost = self._dropped = 0
        return text, count

    def _write_all(self, data: bytes, count: int) -> None:
        data = b"\n" + data if self._torn else data
        try:
            while data:
                try:
                    written = os.write(self._descriptor, data)
                except BlockingIOError:
                    time.sleep(_AGAIN_S)
                else:
                    self._torn = data[written - 1 : written] != b"\n"
                    data = data[written:]
        except OSError as error:
            with self._changed:
                self._lost += max(data.count(b"\n"), 1) if data else 0
            if not self._failing:
                _LOG.warning("lines_lost", extra={"fields": {"detail": error.strerror, "lines": count}})
            self._failing = True
        else:
            self._failing = False


def _notice(count: int) -> str:
    if not count:
        return ""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"event": "lines_lost", "time": now, "count": count}) + "\n"
