"""HTTP to one witness: a request at a time, in a thread, within a deadline and a size.

A connection is kept between requests. A witness that is slow, drips, redirects or never ends its answer costs
a thread until the deadline, and nothing else.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from signerd.core.cosigning import MAX_ANSWER

DEADLINE_S = 10.0  # of one request, name resolution and handshake included
_MAX_TYPE = 100  # characters of a content type that are looked at


class WitnessDown(Exception):  # noqa: N818 -- a state of the line
    """No answer. The text says why."""


def _heard(asked: asyncio.Future[tuple[int, str, bytes]]) -> None:
    """Whoever asked may have gone meanwhile, as when signerd stops: then nobody else takes the error."""
    if not asked.cancelled():
        asked.exception()


class WitnessLine:
    """To one witness."""

    def __init__(self, url: str, ca: Path | None) -> None:
        """`url`: the submission prefix, https, or http to this machine. `ca`: PEM of whom its certificate is
        from; None: the system's roots. Raises OSError: the file cannot be read."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/") + "/add-checkpoint"
        self._tls = None if parts.scheme == "http" else ssl.create_default_context(cafile=ca)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self._connection: http.client.HTTPConnection | None = None
        self._ended = threading.Event()  # of the request that is under way: it does nothing more

    async def post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and at most one byte more than an answer may have. Raises WitnessDown."""
        self._ended = ended = threading.Event()
        asked = asyncio.get_running_loop().run_in_executor(self._thread, self._post, body, ended)
        asked.add_done_callback(_heard)
        try:
            # Not `wait_for`: in Python 3.11 it swallows a cancellation that meets the answer.
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.shield(asked)
        except TimeoutError as error:
            self._cut()
            with suppress(WitnessDown):
                await asked
            raise WitnessDown(f"no answer in {DEADLINE_S:g} s") from error

    def close(self) -> None:
        """Ends a request that is under way."""
        self._cut()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _cut(self) -> None:
        """Wakes the thread, whatever it waits for. It closes the connection itself, and makes no other."""
        self._ended.set()  # before the look at the socket: a thread that connects looks at it afterwards
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, body: bytes, ended: threading.Event) -> tuple[int, str, bytes]:
        kept = self._connection is not None
        try:
            return self._once(body, ended)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if not kept or ended.is_set() or isinstance(error, TimeoutError):
                raise WitnessDown(_said(error)) from error
        try:  # the connection may have ended since the last request: once more on a fresh one
            return self._once(body, ended)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise WitnessDown(_said(error)) from error

    def _once(self, body: bytes, ended: threading.Event) -> tuple[int, str, bytes]:
        connection = self._connection = self._connection or self._opened()
        if connection.sock is None:
            connection.connect()
        if ended.is_set():
            raise ConnectionAbortedError("the deadline has passed")
        connection.request("POST", self._path, body, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        data = response.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER or response.will_close:
            self._drop()
        return response.status, response.headers.get("Content-Type", "")[:_MAX_TYPE], data

    def _opened(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=DEADLINE_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=DEADLINE_S, context=self._tls)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()


def _said(error: Exception) -> str:
    """The library's text, bounded and printable: a peer may have made it."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"its TLS certificate is refused ({error.verify_message}): see url and ca in [[witnesses]]"
    return "".join(character if character.isprintable() else " " for character in text)[:200]
