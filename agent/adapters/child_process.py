"""Ends a program that an adapter started, with all that it started itself."""

from __future__ import annotations

import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress


def kill_group(process: Process) -> None:
    """Kills it and its children. It was started with `start_new_session`; Windows kills it alone.

    One that has ended by itself is let be. Of one that is about to, Windows says that nobody is permitted to.
    """
    if sys.platform == "win32":
        with suppress(ProcessLookupError, PermissionError):
            process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
