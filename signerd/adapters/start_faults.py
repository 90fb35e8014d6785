"""What keeps signerd from starting, in two kinds: what stays until somebody mends it (`ConfigError`), and
what may pass by itself (`NotNow`), so that the service manager is to try again.
"""

from __future__ import annotations

import errno
from pathlib import Path

from signerd.errors import ConfigError, NotNow

# A mount that is not there yet or that the kernel made read-only, a full disk, a port or a device that
# another process has, a network that is not up, a machine without memory or descriptors.
_PASSING = frozenset(
    {
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ENXIO,
        errno.ENODEV,
        errno.ESTALE,
        errno.EBUSY,
        errno.EAGAIN,
        errno.EINTR,
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)

_REMEDIES = {
    errno.ENOENT: "restore it from the backup; `signerd init` makes it for a new installation alone",
    errno.EACCES: "run the command as signerd's user",
}


def passes(error: OSError) -> bool:
    """Whether the same call may succeed later with nothing mended."""
    return error.errno in _PASSING


def unreadable(path: Path, error: OSError) -> ConfigError:
    """The error of a start that cannot read a file of the installation."""
    remedy = _REMEDIES.get(error.errno or 0)
    return from_system(f"cannot read {path}: {error.strerror}{f'; {remedy}' if remedy else ''}", error)


def from_system(text: str, error: OSError) -> ConfigError:
    """The error of a start that failed with this one."""
    return NotNow(text) if passes(error) else ConfigError(text)
