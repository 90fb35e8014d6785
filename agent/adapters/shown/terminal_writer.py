"""The terminal as a stream that never holds its writer up.

    with TerminalWriter(sys.stdout) as terminal:
        Console(file=terminal).print("...")

Whoever presses Ctrl-S, or marks text in a console of Windows, stops what is written to it: the program that
writes waits. Here a thread of its own does. What it has not written yet waits in order, within a bound, and
what comes beyond it is left out. `behind` says that something waits: who draws can save the drawing. At the
end the terminal has `close_s` to take the rest. Signs of the table that its encoding lacks are written as
others of the same width.
"""

from __future__ import annotations

import io
import os
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from agent.adapters.shown.signs import signs

MAX_WAITING = 1024 * 1024  # bytes
CLOSE_S = 5.0  # that the end waits for the terminal
_PIECE = 1024  # bytes a write: a slow line is seen to move
_AGAIN_S = 0.05  # whoever started us left the terminal so that it takes nothing when it is full


class TerminalWriter:
    """A text stream for `rich`, and the one thread that writes. Use it as a context manager."""

    def __init__(self, stream: TextIO, *, waiting: int = MAX_WAITING, close_s: float = CLOSE_S) -> None:
        # Of its own: Python's streams are locked while somebody writes to them, at the interpreter's end too.
        # Open as long as the thread writes, which may be for ever.
        self._raw = open(os.dup(stream.fileno()), "wb", buffering=0)  # noqa: SIM115, PTH123
        # A console of Windows takes UTF-8, whatever its code page is.
        self.encoding = stream.encoding if isinstance(self._raw, io.FileIO) else "utf-8"
        self.errors = stream.errors or "backslashreplace"
        self._signs = signs(self.encoding)
        self._bound, self._close_s = waiting, close_s
        self._texts: list[bytes] = []
        self._waiting = 0  # bytes, those that are being written too
        self._moved_at = time.monotonic()  # when it took something, or what waits now began to
        self._gone = False  # nobody has it open any longer
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_always, name="terminal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._close_s)

    @property
    def behind(self) -> bool:
        """True while something waits to be written."""
        return self._waiting > 0

    @property
    def stopped_s(self) -> float:
        """For how long the terminal has taken nothing of what waits; 0.0 where nothing does."""
        with self._changed:
            return time.monotonic() - self._moved_at if self._waiting else 0.0

    def taken(self, within_s: float) -> bool:
        """Waits until it has taken all, or for so long; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, within_s)

    def write(self, text: str) -> int:
        """Queues a text, or leaves it out where there is no room. Returns at once."""
        data = text.translate(self._signs).encode(self.encoding, self.errors)
        with self._changed:
            if not self._gone and not self._closing and self._waiting + len(data) <= self._bound:
                if not self._waiting:
                    self._moved_at = time.monotonic()
                self._texts.append(data)
                self._waiting += len(data)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing: waiting is what this class spares its callers."""

    def isatty(self) -> bool:
        """See `TextIO`."""
        return self._raw.isatty()

    def fileno(self) -> int:
        """See `TextIO`."""
        return self._raw.fileno()

    def _write_always(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._texts or self._closing)
                if not self._texts:
                    return
                data = b"".join(self._texts)
                self._texts.clear()
            try:
                self._write_all(data)
            except OSError:  # the terminal is closed: boards go on, and nobody sees it
                with self._changed:
                    self._gone, self._waiting = True, 0
                    self._texts.clear()
                    self._changed.notify_all()
                return

    def _write_all(self, data: bytes) -> None:
        while data:
            written = self._raw.write(data[:_PIECE])
            if not written:
                time.sleep(_AGAIN_S)
                continue
            data = data[written:]
            with self._changed:
                self._waiting -= written
                self._moved_at = time.monotonic()
                if not self._waiting:
                    self._changed.notify_all()
