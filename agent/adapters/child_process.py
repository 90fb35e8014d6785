"""Ends a program that an adapter started, with all that it started itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress

_END_S = 5.0  # for the kernel to end it


async def end_group(process: Process) -> bool:
    """Kills it and its children, and waits for it. It was started with `start_new_session`; Windows kills it
    alone.

    Returns:
        False where it goes on: the kernel cannot end it, or it has become another user's, as `sudo` does.
    """
    # It may have ended by itself. Of one that is about to, Windows says that nobody is permitted to.
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        return False
    return True
