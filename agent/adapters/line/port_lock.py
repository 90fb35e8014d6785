"""A port belongs to one program of a station at a time, from its opening to its end.

    with port_lock(state, "/dev/ttyUSB0"): ...

The system's own lock of a serial port ends each time that the port is closed, and a driver closes it on its
way: between a chip's loader and its firmware, or when a chip on USB resets. Another program that looks at
the port just then would reset a board that is being locked. This lock is a file in the state directory, held
until the driver is closed; the system frees it when a process dies, however it does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import JournalError, LineError

FOLDER = "ports"  # in the state directory; a file each device that ever was, of no bytes

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def port_lock(state: Path, device: str) -> Iterator[None]:
    """Holds the port.

    Raises:
        LineError: `port_busy`, another program of this station holds it.
        JournalError: the state directory takes no file.
    """
    target = str(Path(device).resolve()) if "/" in device else device.upper()  # COM7 is com7
    path = state / FOLDER / hashlib.sha256(target.encode("utf-8", errors="surrogateescape")).hexdigest()[:32]
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}") from error
    try:
        try:
            _take(descriptor)
        except OSError as error:
            raise LineError(
                "port_busy",
                f"another birthmark-agent or test station works on {device}",
                remedy="A port belongs to one program at a time: end the other, or give it other ports.",
            ) from error
        yield
    finally:
        os.close(descriptor)  # and with it the lock
