"""HTTP for a folder of tiles: GET and HEAD of the log's own paths, and nothing else.

Guarantees bounds on what a stranger can hold: connections, the bytes and the seconds of a request, the
seconds of an answer. It writes no file and lists no folder. A request is answered or its connection ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from auditor.adapters.tile_files import Found, TileFiles
from auditor.errors import ConfigError

MAX_CONNECTIONS = 256
MAX_REQUEST = 8 * 1024  # bytes of a request's line and headers
REQUEST_S = 10.0  # until a request is whole, the first one or the next
ANSWER_S = 60.0  # until an answer is taken: the largest bundle at 300 KB/s
MAX_REQUESTS = 10_000  # of one connection
_PART = 64 * 1024  # bytes written at once
_LINE = re.compile(rb"(GET|HEAD) /([!-~]{0,200}) HTTP/1\.([01])")
_BODY = re.compile(
    rb"^(?:content-length|transfer-encoding)[ \t]*:(?![ \t]*0[ \t]*$)", re.IGNORECASE | re.MULTILINE
)
_CLOSE = re.compile(rb"^connection[ \t]*:[ \t]*close[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FOR_EVER = "max-age=31536000, immutable"  # a tile never changes; a partial one is named after its width
_HOST = re.compile(
    rb"^host[ \t]*:[ \t]*(\[[0-9a-f:.]+\]|[^\s:\[\]]+)(?::[0-9]{1,5})?[ \t]*$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class _Request:
    head: bool  # HEAD: the answer has no body
    path: str
    last: bool  # the connection ends after it


class _BadRequestError(Exception):
    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class TileServer:
    """`async with TileServer(files, "127.0.0.1", 8080) as server: …`; `server.port` is the bound port."""

    def __init__(self, files: TileFiles, host: str, port: int, names: Collection[str] = ()) -> None:
        """`names` are what a request may ask for, beside addresses and localhost. A web page whose name was
        bent to this address gets nothing."""
        self._files = files
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listens. Raises ConfigError: the address cannot be bound."""
        try:
            self._server = await asyncio.start_server(
                self._connected, self._host, self.port, limit=MAX_REQUEST, backlog=MAX_CONNECTIONS
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on {self._host}:{self.port}: {error}") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops listening, and ends all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # drain() then waits until the kernel has all: the connection may be cut after it.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            for _ in range(MAX_REQUESTS):
                if not await self._answer_one(reader, writer):
                    break
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # who asked went away, or takes too long
        finally:
            writer.transport.abort()  # not close(): what nobody takes would stay in memory

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(REQUEST_S):
                request = self._parsed(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            await _send(writer, _header("431 Request Header Fields Too Large", 0, last=True))
            return False
        except _BadRequestError as error:
            await _send(writer, _header(error.status, 0, last=True))
            return False
        found = await asyncio.to_thread(self._files.read, request.path)
        if found is None:
            await _send(writer, _header("404 Not Found", 0, last=request.last))
        else:
            header = _header("200 OK", len(found.data), last=request.last, more=_about(found))
            await _send(writer, header, b"" if request.head else found.data)
        return not request.last

    def _parsed(self, raw: bytes) -> _Request:
        line, _, rest = raw.partition(b"\r\n")
        headers = rest.replace(b"\r\n", b"\n")
        if _BODY.search(headers):
            raise _BadRequestError("400 Bad Request")
        match = _LINE.fullmatch(line)
        if match is None:
            known = line.startswith((b"GET ", b"HEAD "))
            raise _BadRequestError("400 Bad Request" if known else "405 Method Not Allowed")
        method, path, minor = match.groups()
        hosts = [host.decode("latin-1").strip("[]").lower() for host in _HOST.findall(headers)]
        if (minor == b"1" and len(hosts) != 1) or any(not self._is_ours(host) for host in hosts):
            raise _BadRequestError("421 Misdirected Request")
        last = minor == b"0" or _CLOSE.search(headers) is not None
        return _Request(method == b"HEAD", path.decode("ascii"), last)

    def _is_ours(self, host: str) -> bool:
        return host in self._names or _is_address(host)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _about(found: Found) -> tuple[str, ...]:
    if found.changes:
        return ("Content-Type: text/plain; charset=utf-8", "Cache-Control: no-cache")
    return ("Content-Type: application/octet-stream", f"Cache-Control: {_FOR_EVER}")


def _header(status: str, size: int, *, last: bool, more: tuple[str, ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "X-Content-Type-Options: nosniff", *more]
    if status.startswith("405"):
        lines.append("Allow: GET, HEAD")
    if last:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _send(writer: asyncio.StreamWriter, header: bytes, data: bytes = b"") -> None:
    async with asyncio.timeout(ANSWER_S):
        writer.write(header)
        await writer.drain()
        for start in range(0, len(data), _PART):
            writer.write(data[start : start + _PART])
            await writer.drain()
