"""A file of lines that never grows beyond its bound: when it is full it becomes `name.1`, that one `name.2`.

    log = RotatingFile(Path("agent.log"), file_bytes=2 << 20, files=5)
    log.write('{"event":"started"}')

The file is opened for each line and closed again. So nothing of ours is in the way when it is renamed, and
Windows renames no file that is open. A file that was moved away by hand begins anew. Two programs of one
station may write to it, because a line is handed over in one piece. If both rotate in the same moment, a file
gets one number too many, and the oldest is lost a little early.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from agent.adapters.durable_files import try_folder

_MOST = 2  # times its bound, while somebody else holds the file open and it cannot be renamed
_BINARY = getattr(os, "O_BINARY", 0)  # POSIX has none
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none


class RotatingFile:
    """See the module. May be used from any thread."""

    def __init__(self, path: Path, *, file_bytes: int, files: int) -> None:
        self.path = path
        self._file_bytes = file_bytes
        self._files = files
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Adds a line. Raises OSError: it is not in the file, or only its beginning is.

        A crash in the middle of a write, or a full disk, leaves a line without its end. The next one begins
        on a line of its own, so that no more than the one that was being written is lost. Lines are not
        synced: a power cut may take the last seconds. What must survive it is in the journal.
        """
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._full(len(data)):
                self._rotate()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY | _NOFOLLOW, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size + len(data) > _MOST * self._file_bytes and size:
                    raise OSError(f"{self.path} is full, and another program holds it open")
                if size and not _ends_a_line(descriptor, size):
                    data = b"\n" + data
                if os.write(descriptor, data) != len(data):
                    raise OSError(f"{self.path}: the disk took half a line")
            finally:
                os.close(descriptor)

    def check(self) -> None:
        """Raises OSError where `write` would. Leaves no file behind, that might be another user's."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_APPEND | _BINARY | _NOFOLLOW))
        except FileNotFoundError:
            try_folder(self.path.parent)

    def _full(self, more: int) -> bool:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return False
        return size > 0 and size + more > self._file_bytes

    def _rotate(self) -> None:
        """A crash between two renames leaves a gap in the numbers, and no line twice."""
        try:
            for number in range(self._files - 1, 0, -1):
                older = self._numbered(number)
                newer = self._numbered(number - 1) if number > 1 else self.path
                if newer.exists():
                    newer.replace(older)
            if self._files == 1:
                self.path.unlink(missing_ok=True)
        except PermissionError:
            return  # Windows: somebody reads it. The file may grow to its last bound meanwhile

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _ends_a_line(descriptor: int, size: int) -> bool:
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
