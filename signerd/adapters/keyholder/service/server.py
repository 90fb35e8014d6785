"""The socket of a key holder's service, and who may connect to it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from pathlib import Path
from typing import Any

from signerd.adapters.keyholder.service.held import Holder
from signerd.adapters.keyholder.service.line import Line

MAX_CONNECTIONS = 128  # of all clients together
_UCRED = struct.Struct("iII")  # struct ucred of unix(7)


class Listener:
    """The socket. Start it when all keys are there."""

    def __init__(self, holder: Holder, path: Path) -> None:
        self._holder = holder
        self._path = path
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[Any]] = set()

    async def start(self, bound: socket.socket) -> None:
        """Serves on a socket of `bind`."""
        self._server = await asyncio.start_unix_server(self._connected, sock=bound)

    async def stop(self) -> None:
        """No more connections; those that are there end."""
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.cancel()
        if self._lines:
            await asyncio.wait(self._lines)
        with contextlib.suppress(FileNotFoundError):  # somebody took it away
            self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Called as a task of its own.
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine runs in one
        self._lines.add(task)
        try:
            if self._may(writer):
                await Line(self._holder, reader, writer).serve()
        except Exception as error:  # noqa: BLE001 -- of the peer, whatever it is: it ends its own line
            self._holder.ended(error)
        finally:
            self._lines.discard(task)
            writer.transport.abort()

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        line = writer.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in self._holder.clients:
            self._holder.refused("connect", f"user {uid} is none of service.clients")
            return False
        if len(self._lines) > MAX_CONNECTIONS:
            self._holder.refused("connect", f"more than {MAX_CONNECTIONS} connections")
            return False
        return True


def bind(path: Path) -> socket.socket:
    """A socket that everybody may connect to: who they are is looked at then.

    Raises:
        OSError: another one listens there, or it cannot be made.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    if path.exists() and not path.is_socket():
        raise OSError(errno.EEXIST, f"{path} is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # of a service that was killed
        except FileNotFoundError:
            return
        else:
            raise OSError(errno.EADDRINUSE, f"another key holder listens on {path}")
