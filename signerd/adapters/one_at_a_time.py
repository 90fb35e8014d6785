"""One command at a time on the files of a folder: of two at once, each would take the other's change away."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signerd.adapters.start_faults import unreadable
from signerd.errors import ConfigError, NotNow


@contextmanager
def alone(file: Path, what: str, *, by_root: bool = False) -> Iterator[None]:
    """Until the context ends, nobody else does `what` in the folder of `file`, which has to be ours; or
    `by_root`, who then gives its owner what it makes.

    Raises:
        NotNow: another is under way.
        ConfigError: the file is another user's, or is not there.
    """
    try:
        if os.geteuid() not in (file.stat().st_uid, *((0,) if by_root else ())):
            raise ConfigError(f"{file} is another user's: run the command as signerd's user")
        descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotNow(f"another {what} is under way in {file.parent}: wait for its end") from error
        yield
    finally:
        os.close(descriptor)  # the lock goes with it
