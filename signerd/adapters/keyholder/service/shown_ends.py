"""When the certificates of a key holder's service end: a file beside its socket, which everybody may read.

    show_ends(socket, issuer_ends(config))          # the service, at each start
    for end in read_ends(socket): …                 # signerd, which warns of them

signerd has copies of its own, which may be other ones. Nothing more is asked through the socket for it. What
the file says is shown and warned of, and decides nothing: the service may have been taken over, so it is read
within bounds, and as text that a terminal may be given.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system, unreadable
from signerd.core.ends import End, What
from signerd.errors import ConfigError

MAX_FILE: Final = 65_536  # bytes
_MAX_NAME: Final = 512  # characters of a subject
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SHOWN: Final = frozenset({What.SUB_CA, What.ISSUER, What.ROOT})


def file_beside(socket: Path) -> Path:
    """Its name."""
    return socket.with_name(f"{socket.name}.ends.json")


def members(ends: Iterable[End]) -> list[dict[str, str]]:
    """For machines."""
    return [
        {"which": end.what.value, "name": end.name, "not_after": f"{end.at.astimezone(UTC):{_TIME}}"}
        for end in ends
    ]


def show_ends(socket: Path, ends: Iterable[End]) -> None:
    """Writes it anew. After a crash there is the one of before, or this one. Raises Fault or ConfigError."""
    path = file_beside(socket)
    try:
        durable_files.replace(path, json.dumps(members(ends)).encode(), 0o644)
    except OSError as error:
        raise from_system(f"cannot write {path}: {error.strerror}", error) from error


def read_ends(socket: Path) -> list[End]:
    """None where there is no file: the service does not run.

    Raises:
        ConfigError: it cannot be read, or is not of its form.
    """
    path = file_beside(socket)
    try:
        data = _read(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        said = json.loads(data) if len(data) <= MAX_FILE else None
        return [_end(each) for each in said] if isinstance(said, list) else _refuse()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is not what a key holder's service writes: restart it") from error


def _read(path: Path) -> bytes:
    """Of a file alone: a pipe in its place would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_FILE + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _end(said: dict[str, Any]) -> End:
    what, name = What(said["which"]), said["name"]
    if what not in _SHOWN or not isinstance(name, str) or len(name) > _MAX_NAME:
        _refuse()
    printable = "".join(each if each.isprintable() else "?" for each in name)
    return End(what, printable, datetime.strptime(said["not_after"], _TIME).replace(tzinfo=UTC))


def _refuse() -> list[End]:
    raise ValueError("not of its form")
