"""Files that this account alone may use: mode 0600 on POSIX, a list of rights on Windows.

Windows' list names administrators and the system too, who read everything anyway.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from agent.errors import ConfigError

if sys.platform == "win32":
    from agent.adapters import windows_rights


def make_private_directory(path: Path) -> None:
    """The directory, and those above it, unless it is there. Raises OSError."""
    if sys.platform != "win32":
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        windows_rights.create_private_directory(path)


def make_private(path: Path) -> None:
    """Takes all others' rights to a file that is there. Raises OSError."""
    if sys.platform == "win32":
        windows_rights.make_private(path)
    else:
        path.chmod(0o600)


def check_private(path: Path) -> None:
    """Raises ConfigError if others have rights to the file, or that cannot be told."""
    try:
        if sys.platform == "win32":
            others = ", ".join(windows_rights.others_with_rights(path))
            remedy = "Run the enroll command of this folder again: it keeps the key, and takes their rights."
        else:
            others = "others" if stat.S_IMODE(path.stat().st_mode) & 0o077 else ""
            remedy = f"chmod 600 {path}"
    except OSError as error:
        raise ConfigError(
            f"the rights of {path} cannot be read: {error.strerror}",
            remedy="See that the file is there, and that this account may read it.",
        ) from error
    if others:
        raise ConfigError(f"{others} may read {path}", remedy=remedy)
