"""A program on a terminal of its own, as an operator has it in front of them.

with Terminal([COMMANDS / "birthmark-agent", "run", ...]) as terminal:
    terminal.until("signerd's certificate")
    assert terminal.wait() == 3
    assert terminal.text.count("\\n") < 10
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import REPOSITORY, wait_until

_ROWS, _COLUMNS = 40, 240  # wide: nothing that is looked for is broken over lines


class Terminal:
    """The text is all that the program, and what it loads, wrote: the table's escapes too."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """`environment` comes to this process's; how loud gRPC is, nobody has said."""
        self._command = [str(part) for part in command]
        own = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
        self._environment = {**own, "TERM": "xterm-256color", **(environment or {})}
        self._said = bytearray()

    @property
    def text(self) -> str:
        return self._said.decode("utf-8", "replace")

    def until(self, text: str, count: int = 1) -> None:
        """Returns when this was said, so many times."""
        wait_until(lambda: self.text.count(text) >= count, f"{text!r} on the terminal", timeout_s=60)

    def press(self, keys: bytes) -> None:
        """Keys, control characters among them: the terminal does what it does with them."""
        os.write(self._ours, keys)

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self) -> int:
        """The exit code, once the program has ended and all it wrote was read."""
        code = self._process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self._said += data

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            self._command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY, env=self._environment
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)
        self._reader.join(timeout=10)
        os.close(self._ours)
