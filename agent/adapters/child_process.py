"""Ends a program that an adapter started, with all that it started itself."""

from __future__ import annotations

import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress


def kill_group(process: Process) -> None:
    """Kills it and its children. It was started with `start_new_session`; Windows kills it alone."""
    with suppress(ProcessLookupError):  # it ended by itself
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
