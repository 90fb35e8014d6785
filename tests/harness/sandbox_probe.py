"""Run in a unit's sandbox: tries what a unit needs, and more; one line of JSON says how it ended.

`python sandbox_probe.py STATE`: where the unit may write. An outcome is "done" or an error's name.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWUSER, _PTRACE_TRACEME, _PER_LINUX32 = 0x10000000, 0, 8


def _checked(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), "")


def _written(path: Path) -> None:
    path.write_bytes(b"x")
    path.unlink()


def _set_uid_file(path: Path) -> None:
    path.touch()
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> None:
    socket.socket(family, kind).close()


def _attempts(state: Path) -> dict[str, Callable[[], object]]:
    every = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    return {
        "write its state": lambda: _written(state / "probe"),
        "write /etc": lambda: _written(Path("/etc/probe")),
        "write /usr": lambda: _written(Path("/usr/probe")),
        "write /var/lib": lambda: _written(Path("/var/lib/probe")),
        "write /opt": lambda: _written(Path("/opt/birthmark/probe")),
        "write cgroups": lambda: Path("/sys/fs/cgroup/cgroup.procs").write_text("0"),
        "list homes": lambda: list(Path("/root").iterdir()),
        "read the system's settings": lambda: Path("/proc/sys/kernel/hostname").read_text(),
        "see process 1": lambda: Path("/proc/1").stat(),
        "see the kernel's memory": lambda: Path("/proc/kcore").stat(),
        "a socket of Unix": lambda: _socket(socket.AF_UNIX),
        "a socket of IPv4": lambda: _socket(socket.AF_INET),
        "a socket of IPv6": lambda: _socket(socket.AF_INET6),
        "a socket of netlink": lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "a socket of packets": lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW),
        "memory that is written and executed": lambda: mmap.mmap(-1, 4096, prot=every).close(),
        "lock a page of memory": lambda: _checked(_LIBC.mlock(ctypes.create_string_buffer(16), 16)),
        "mount": lambda: _checked(_LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "a namespace of users": lambda: _checked(_LIBC.unshare(_NEWUSER)),
        "ptrace": lambda: _checked(_LIBC.ptrace(_PTRACE_TRACEME, 0, 0, 0)),
        "another personality": lambda: _checked(_LIBC.personality(_PER_LINUX32)),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "a set-user-id file": lambda: _set_uid_file(state / "probe"),
        "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "set the host's name": lambda: socket.sethostname("probe"),
        "a device": lambda: os.mknod(state / "probe", 0o20600, os.makedev(1, 8)),
    }


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def main() -> None:
    """See the module."""
    outcomes = {name: _outcome(attempt) for name, attempt in _attempts(Path(sys.argv[1])).items()}
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    about = {name: status[name] for name in ("CapBnd", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")}
    about["core"] = str(resource.getrlimit(resource.RLIMIT_CORE)[1])
    about["processes"] = str(sum(path.name.isdigit() and _other(path) for path in Path("/proc").iterdir()))
    print(json.dumps({"probe": outcomes, "about": about}), flush=True)


def _other(process: Path) -> bool:
    try:
        return process.stat().st_uid != os.getuid()
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
