"""Users of this machine, by name or number."""

from __future__ import annotations

import pwd
from collections.abc import Iterable

from signerd.errors import ConfigError


def uid_of(name: str) -> int:
    """The number of a user. Raises ConfigError: there is none of that name."""
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise ConfigError(f"this machine has no user {name!r}: adduser --system --group {name}") from error


def uids(names: Iterable[str]) -> frozenset[int]:
    """The numbers of clients. Raises ConfigError."""
    return frozenset(map(uid_of, names))
