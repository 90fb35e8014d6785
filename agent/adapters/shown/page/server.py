"""Serves the page of port tiles: to tablets on the line, and to nobody who only tricked a browser.

    async with PageServer(config.page, live):
        ...

It only shows: its files, the state as JSON and as it changes (server-sent events), and boards out of the
journal (`records`). It changes nothing, knows no secret, and asks nobody who they are; whoever reaches the
address may look. What holds:

* GET alone; every path is written here, so that none leads out.
* A request must name a host that is meant (`listen`, `hosts`), and none may come from another site's page:
  a name that is bent to this address (DNS rebinding) gets nothing.
* So many connections, so many of them streams, so many streams an address; the newest is served, an idle one
  goes, with all that its browser did not read. Nothing of this waits for a browser while a board waits for
  it, nor at the end.
* So many new connections and so many requests a second: who sends more waits, and boards do not.
* What is no HTTP is answered and not written down: a stranger's noise would push out of the log what happened
  to boards.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import re
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.page.records import Records
from agent.config import Page
from agent.errors import ConfigError
from agent.program import program_version

MAX_CONNECTIONS = 64
MAX_STREAMS = 32
MAX_STREAMS_PER_ADDRESS = 8  # a tablet that was reloaded leaves some that are not noticed as dead yet
REQUEST_S = 10  # for a connection to say what it wants
READ_S = 5.0  # for a browser to take what it is sent
_LOOK_S = 0.25  # changes are sent at most so often
_BEAT_S = 2.0  # and something is sent at least so often
_BUFFER_BYTES = 65_536  # of the kernel, per connection
_END_S = 1.0  # for handlers to end with the page
PER_SECOND = 100  # new connections, and requests; a station's tablets need a tenth
AT_ONCE = 128  # of both: tablets that are switched on together
BACKLOG = 64  # connections that wait in the kernel
_NO_MORE_S = 1.0  # where the PC has no more descriptors
# Closed with a reset. What was not read would else stay with the kernel for minutes, and the browser with it.
_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # struct linger
_HEADER_BYTES = 4_096  # of a request line or a header
_HEADERS = 64
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/texts.js": ("texts.js", "text/javascript"),
    "/shift": ("shift.html", "text/html"),
    "/boards": ("boards.html", "text/html"),
    "/boards/{key}": ("board.html", "text/html"),
    "/records.css": ("records.css", "text/css"),
    "/records.js": ("records.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "birthmark-agent",
}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
_OTHER_SITES = frozenset({"cross-site", "same-site"})  # values of Sec-Fetch-Site
_NOT_BOUND = {
    errno.EADDRINUSE: "Another program, or another station, has this port: give page.listen another one.",
    errno.EADDRNOTAVAIL: "That is no address of this PC: give page.listen one that it has, or 0.0.0.0.",
    errno.EACCES: "This account may not listen there: give page.listen a port from 1024 on, such as 8480.",
}
_ELSE_NOT_BOUND = "Give page.listen another address or port."
_LOG = logging.getLogger(__name__)
_Lines = dict[web.RequestHandler, asyncio.Transport]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """The page, while it is entered.

    Raises, on entering:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, page: Page, live: LiveState, journal: Path | None = None) -> None:
        """`journal`: has the boards that are done; without it only those under way are told."""
        self._page = page
        self._records = Records(journal, live)
        self._live = live
        host = page.listen.rpartition(":")[0].strip("[]")
        self._names = _names(host, page.hosts)
        self._streams: dict[asyncio.Task[object], str] = {}  # to the address of its browser, oldest first
        self._lines: _Lines = {}  # oldest first
        self._busy: set[web.RequestHandler] = set()  # connections that a request is answered on
        self._encoded: tuple[int, float, bytes] = (-1, 0.0, b"")
        self._runner: web.AppRunner | None = None
        self._listening: socket.socket | None = None
        self._letting_in: asyncio.Task[None] | None = None
        self._requests = _Pace()

    async def __aenter__(self) -> Self:
        listening = listen_on(self._page.listen)
        _LOG.addFilter(_of_ours)
        try:
            app = web.Application(middlewares=[self._guard])
            for path, (name, kind) in _FILES.items():
                content = files(__package__).joinpath(name).read_bytes()
                app.router.add_get(path, _file(content, kind), allow_head=False)
            app.router.add_get("/api/state", self._state, allow_head=False)
            app.router.add_get("/api/events", self._events, allow_head=False)
            app.router.add_get("/api/shift", self._records.shift, allow_head=False)
            app.router.add_get("/api/boards", self._records.boards, allow_head=False)
            app.router.add_get("/api/boards/{key}", self._records.board, allow_head=False)
            app.on_response_prepare.append(_add_headers)
            self._runner = web.AppRunner(
                app,
                access_log=None,
                logger=_LOG,
                shutdown_timeout=_END_S,
                keepalive_timeout=REQUEST_S,
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
                max_headers=_HEADERS,
                lingering_time=0,  # nobody reads what a request brings along
                handler_cancellation=True,
            )
            await self._runner.setup()
            listening.listen(BACKLOG)
            listening.settimeout(0)  # asyncio asks for it
            self._listening = listening
            self._letting_in = asyncio.create_task(self._let_in(listening), name="page")
        except BaseException:
            listening.close()
            self._records.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._records.close()
        if self._listening is None or self._letting_in is None or self._runner is None:
            return
        self._letting_in.cancel()
        await asyncio.wait({self._letting_in})
        self._listening.close()
        for task in self._streams:
            task.cancel()
        for connection in list(self._lines):
            self._end(connection)
        await self._runner.cleanup()

    async def _let_in(self, listening: socket.socket) -> None:
        """Lets connections in, for ever. `asyncio.Server` takes all that come, and a flood has the loop."""
        loop = asyncio.get_running_loop()
        pace = _Pace()
        short = False
        while True:
            await pace.turn()
            try:
                line, _ = await loop.sock_accept(listening)
            except ConnectionError:  # it went while it waited
                continue
            except OSError as error:  # no more descriptors, no more memory
                if not short:
                    _LOG.warning("The page lets nobody in for now: %s", error.strerror)
                short = True
                await asyncio.sleep(_NO_MORE_S)
                continue
            short = False
            try:
                await loop.connect_accepted_socket(self._enter, line)
            except Exception as error:  # noqa: BLE001 -- one connection, and not all that come after it
                line.close()
                if not isinstance(error, OSError):  # else it went at once
                    _LOG.exception("A browser could not be let in")

    def _enter(self) -> asyncio.BaseProtocol:
        """Makes room for a connection: the oldest goes on which nothing is being answered."""
        server = self._runner.server if self._runner is not None else None
        if server is None:
            return _Refused()
        for ended in self._lines.keys() - set(server.connections):
            del self._lines[ended]
        while len(self._lines) >= MAX_CONNECTIONS:
            idle = next((connection for connection in self._lines if connection not in self._busy), None)
            if idle is None:
                return _Refused()
            self._end(idle)
        return _Door(server(), self._lines)

    def _end(self, connection: web.RequestHandler) -> None:
        """At once. Closed in order, it would stay open until its browser has read what it was told."""
        connection.force_close()
        _reset(self._lines.pop(connection))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        await self._requests.turn()
        self._busy.add(connection)
        try:
            if not self._is_meant(request):
                raise web.HTTPMisdirectedRequest(
                    text="This station is not called that: page.hosts names it.\n"
                )
            from_elsewhere = request.headers.get("Sec-Fetch-Site", "") in _OTHER_SITES
            if from_elsewhere and request.path.startswith("/api/"):
                raise web.HTTPForbidden(text="Not for the pages of others.\n")
            return await handler(request)
        finally:
            self._busy.discard(connection)

    def _is_meant(self, request: web.Request) -> bool:
        """True if the one Host header names this station, or is the address that the request came to."""
        values = request.headers.getall("Host", [])
        match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        return name in self._names or _address(name) == _local_address(request)

    async def _state(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._encode(), content_type="application/json", charset="utf-8")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is None:
            raise web.HTTPInternalServerError
        address = request.remote or ""
        same = [other for other, its_address in self._streams.items() if its_address == address]
        for other in same[: max(len(same) - MAX_STREAMS_PER_ADDRESS + 1, 0)]:
            del self._streams[other]
            other.cancel()
        if len(self._streams) >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(text="Too many pages are open.\n")
        self._streams[task] = address
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        try:
            await response.prepare(request)
            await self._speak(response)
        except (TimeoutError, ConnectionError):  # reads too slowly, or went away
            if isinstance(request.transport, asyncio.Transport):
                _reset(request.transport)
        finally:
            self._streams.pop(task, None)
        return response

    async def _speak(self, response: web.StreamResponse) -> None:
        """Tells the state as it changes. What a slow browser missed is never sent later."""
        loop = asyncio.get_running_loop()
        told, told_at = -1, 0.0
        while True:
            version = self._live.version
            if version != told or loop.time() - told_at >= _BEAT_S:
                async with asyncio.timeout(READ_S):
                    await response.write(b"data: " + self._encode() + b"\n\n")
                told, told_at = version, loop.time()
            await asyncio.sleep(_LOOK_S)

    def _encode(self) -> bytes:
        """The state as JSON, made once for all browsers that look at one time."""
        version, made_at, encoded = self._encoded
        now = asyncio.get_running_loop().time()
        if version != self._live.version or now - made_at >= _LOOK_S:
            version = self._live.version
            state = {**asdict(self._live.snapshot()), "version": program_version()}
            encoded = json.dumps(state).encode()
            self._encoded = version, now, encoded
        return encoded


def _of_ours(record: logging.LogRecord) -> bool:
    """False of what a stranger sent that is no HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _Door(asyncio.Protocol):
    """Notes a connection's transport, and lets the connection in. aiohttp forgets the transport where it
    closes it, long before all is read."""

    def __init__(self, connection: web.RequestHandler, lines: _Lines) -> None:
        self._connection = connection
        self._lines = lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._lines[self._connection] = transport
            transport.set_protocol(self._connection)
            self._connection.connection_made(transport)


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            _reset(transport)


class _Pace:
    """So many turns a second, `AT_ONCE` of them at one stroke."""

    def __init__(self) -> None:
        self._queue = asyncio.Lock()  # the first who waits is the next
        self._next = 0.0  # when the next turn is due, by the loop's clock

    async def turn(self) -> None:
        """Waits for it. Who is cancelled meanwhile takes none."""
        async with self._queue:
            now = asyncio.get_running_loop().time()
            due = max(self._next, now - AT_ONCE / PER_SECOND)
            await asyncio.sleep(max(due - now, 0.0))
            self._next = due + 1 / PER_SECOND


def _reset(transport: asyncio.Transport) -> None:
    """Ends a connection at once, on the browser's side too."""
    line = transport.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _file(content: bytes, kind: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_ALWAYS)


def _names(host: str, hosts: tuple[str, ...]) -> frozenset[str]:
    """Names under which a browser may ask, in lower case."""
    names = {name.lower() for name in hosts}
    address = _address(host)
    if address is None:
        names.add(host.lower())
    if host == "localhost" or (address is not None and address.is_loopback):
        names |= {"localhost", "127.0.0.1", "::1"}
    return frozenset(names)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _local_address(request: web.Request) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of this PC that the connection was made to; one that is nobody's where it is gone."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    address = _address(name[0].partition("%")[0]) if name else None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address if address is not None else ipaddress.IPv4Address("255.255.255.255")


def listen_on(text: str) -> socket.socket:
    """A socket bound to `page.listen`. Raises ConfigError, with the cause."""
    host, _, port = text.rpartition(":")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        detail = f"page.listen: {text}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(detail, remedy="Give page.listen a name or address of this PC.") from error
    try:
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Taken over by each connection: what a browser does not read stays small.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        listening.bind(address)
    except OSError as error:
        listening.close()
        detail = f"page.listen: cannot listen on {text}: {error.strerror}"
        raise ConfigError(detail, remedy=_NOT_BOUND.get(error.errno or 0, _ELSE_NOT_BOUND)) from error
    return listening
