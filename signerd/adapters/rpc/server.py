"""signerd's two listeners, with their bounds: mTLS for peers, a Unix socket for administrators."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc.health import METHODS
from signerd.adapters.start_faults import from_system
from signerd.errors import ConfigError, NotNow

MAX_RECEIVED = 1_114_112  # bytes: a CSR of 1 MiB must reach the CSR check, to be refused there and recorded
MAX_SENT = 8 * 1024 * 1024  # bytes: an auditor's page has at most 3 MiB
MAX_OPEN_CALLS = 4096  # of all peers; the bound a caller is in `waiting`, the bound on work in the gate
ADMIN_CONNECTIONS = 64
MAX_ADMIN_MESSAGE = 64 * 1024 * 1024  # bytes: CRLs and lists of all work orders

# Times in milliseconds, as gRPC wants them.
_BOTH: tuple[tuple[str, int], ...] = (
    ("grpc.compression_enabled_algorithms_bitset", 1),  # identity alone: nothing to inflate
)
_PEERS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 1),  # for the listener that takes our place; see PeerListener
    ("grpc.max_receive_message_length", MAX_RECEIVED),
    ("grpc.max_send_message_length", MAX_SENT),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # else gRPC waits 60 s for the answer to a ping
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # a station pings each 10 s
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.server_handshake_timeout_ms", 5_000),  # until the peer's first HTTP/2 settings
    ("grpc.max_connection_idle_ms", 900_000),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)
_OTHER_SERVICES = {
    f"/{service.full_name}/{method.name}": f"{service.name}.{method.name}"
    for service in admin_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def foreign_method_name(path: str) -> str | None:
    """What the ledger calls a method that is not served to peers. Administration's names stay in clear.

    None for methods of the health service, which clients may probe for.
    """
    return None if path.startswith(METHODS) else _OTHER_SERVICES.get(path, "unknown")


class PeerListener:
    """The mTLS listener. Another certificate is another gRPC server on the same port: for a moment both
    listen, then the old one takes no more connections, and those that it has end with their calls."""

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler[Any, Any]],
        *,
        listen: str,
        streams_per_connection: int,
        connections: int,
        drain_s: float,
    ) -> None:
        """`drain_s`: calls on connections of before may take this long."""
        self._handlers = tuple(handlers)
        self._listen = listen
        self._options = (
            *_BOTH,
            *_PEERS,
            ("grpc.max_concurrent_streams", streams_per_connection),
            # Those in a handshake count. What comes beyond is closed as soon as it is accepted.
            ("grpc.max_allowed_incoming_connections", connections),
        )
        self._drain_s = drain_s
        self._server: grpc.aio.Server | None = None
        self._drained: set[asyncio.Task[None]] = set()

    def bind(self, credentials: grpc.ServerCredentials) -> int:
        """The first listener, not yet started; returns its port.

        Raises:
            ConfigError: the address cannot be bound.
        """
        _check_free(self._listen)
        self._server, port = self._made(credentials)
        self._listen = f"{self._listen.rpartition(':')[0]}:{port}"
        return port

    async def start(self) -> None:
        """Takes connections from now on."""
        if self._server is not None:
            await self._server.start()

    async def replace(self, credentials: grpc.ServerCredentials) -> None:
        """Takes connections with these from now on.

        Raises:
            ConfigError: the address cannot be bound; the listener of before goes on.
        """
        new, _ = self._made(credentials)
        await new.start()
        old, self._server = self._server, new
        if old is not None:
            draining = asyncio.create_task(old.stop(self._drain_s), name="listener of before")
            self._drained.add(draining)
            draining.add_done_callback(self._drained.discard)

    async def stop(self) -> None:
        """Takes none any more; returns when the calls under way have ended, or `drain_s` has."""
        if self._server is not None:
            await asyncio.gather(self._server.stop(self._drain_s), *self._drained)

    def _made(self, credentials: grpc.ServerCredentials) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=MAX_OPEN_CALLS)
        server.add_generic_rpc_handlers(self._handlers)
        return server, _bound(lambda: server.add_secure_port(self._listen, credentials), self._listen)


def admin_server(handler: grpc.GenericRpcHandler[Any, Any], *, path: Path) -> grpc.aio.Server:
    """The administrators' listener, bound and not yet started.

    Raises:
        ConfigError: the directory is open to others, another signerd listens there, or it cannot be bound.
    """
    check_socket_directory(path)
    _remove_stale(path)
    server = grpc.aio.server(
        options=(
            *_BOTH,
            ("grpc.so_reuseport", 0),
            ("grpc.max_allowed_incoming_connections", ADMIN_CONNECTIONS),
            ("grpc.max_receive_message_length", MAX_ADMIN_MESSAGE),
            ("grpc.max_send_message_length", MAX_ADMIN_MESSAGE),
        )
    )
    server.add_generic_rpc_handlers((handler,))
    credentials = grpc.local_server_credentials(grpc.LocalConnectionType.UDS)
    _bound(lambda: server.add_secure_port(f"unix:{path}", credentials), str(path))
    path.chmod(0o600)  # the directory is the check; this only says the same again
    return server


def check_socket_directory(path: Path) -> None:
    """Raises ConfigError unless the socket's directory is ours and of mode 0700: it is the access check."""
    directory = path.parent
    try:
        found = directory.lstat()
    except OSError as error:
        raise from_system(
            f"cannot use {directory}: {error.strerror}; make it with mode 0700", error
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{directory} must be a directory, and no link")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{directory} must belong to the user that runs signerd: chown it")
    if stat.S_IMODE(found.st_mode) != 0o700:
        raise ConfigError(f"{directory} must have mode 0700: chmod 0700 {directory}")


def answers(path: Path) -> bool:
    """True if someone accepts connections on the Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise from_system(f"cannot look at {path}: {error.strerror or error}", error) from error
    return True


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} exists and is no socket: move it away")
    if answers(path):
        raise NotNow(f"another signerd answers on {path}")
    path.unlink()


def _bound(bind: Callable[[], int], where: str) -> int:
    try:
        port = bind()
    except RuntimeError as error:
        raise _not_bound(where) or NotNow(f"cannot listen on {where}: it was in use") from error
    return port


def _check_free(where: str) -> None:
    """Raises ConfigError where somebody listens already: a port that may be shared would be, with another
    signerd of the same user."""
    if (error := _not_bound(where)) is not None:
        raise error


def _not_bound(where: str) -> ConfigError | None:
    """Why it cannot be bound, which gRPC does not tell: tried without it. None: it can."""
    try:
        if where.startswith("/"):
            with socket.socket(socket.AF_UNIX) as line:
                line.bind(where)
        else:
            host, _, port = where.rpartition(":")
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            with socket.socket(found[0][0]) as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC: connections of before
                line.bind(found[0][4])
    except socket.gaierror as error:
        return (NotNow if error.errno == socket.EAI_AGAIN else ConfigError)(
            f"cannot listen on {where}: {error.strerror}"
        )
    except OSError as error:
        return from_system(f"cannot listen on {where}: {error.strerror or error}", error)
    except UnicodeError as error:  # a label of a name that is too long, or none
        return ConfigError(f"cannot listen on {where}: {error}")
    return None
