"""Keeps what a process holds in memory, a PIN above all, out of core files and swap and away from debuggers;
and what signerd's environment holds away from the processes that it starts."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_DUMPABLE = 4
_NO_CORE = (0, 0)
# What a Python process needs of our environment to start at all. The rest may hold other people's secrets.
_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ")


def bare_environment() -> dict[str, str]:
    """The environment for a process of ours."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def close_memory() -> None:
    """No core file; on Linux also no ptrace and no /proc/PID/mem for others of the same user.

    Raises:
        OSError: the system does not allow it.
    """
    # A service manager may have set the limit and forbidden the call.
    if resource.getrlimit(resource.RLIMIT_CORE) != _NO_CORE:
        resource.setrlimit(resource.RLIMIT_CORE, _NO_CORE)
    _prctl(_PR_SET_DUMPABLE, 0)


def locked_memory(size: int) -> memoryview:
    """Zeroed memory that is never swapped, in no core file, and not there in a forked child; as long as the
    view lives. Raises OSError: the system does not allow it (RLIMIT_MEMLOCK)."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) != 0:
        raise OSError(ctypes.get_errno(), "mlock")
    if sys.platform == "linux":
        pages.madvise(mmap.MADV_DONTDUMP)
        pages.madvise(mmap.MADV_DONTFORK)
    return memoryview(pages)


def die_with_parent() -> None:
    """On Linux, SIGKILL when the parent's thread that started this process ends. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
