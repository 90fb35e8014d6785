"""HTTP to an S3 server: one signed request at a time, within a deadline and a size.

For a thread of its own. A server that is slow, drips or never ends its answer costs this thread until the
deadline, and nothing else. No redirect is followed: the secret signs for this host alone.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from signerd.adapters.pin import read_secret
from signerd.config import BucketSettings
from signerd.core.aws_signature import BucketCredentials, BucketRequest, signed
from signerd.core.bucket_answers import Trouble, TroubleCode
from signerd.errors import ConfigError, Unavailable

DEADLINE_S = 30.0  # of one request, handshake included: a bundle may have 16 MB
_QUIET_S = 10.0  # without a byte, while connecting or in an answer


class BucketTrouble(Unavailable):
    """The bucket did not take or give an object."""

    def __init__(self, trouble: Trouble, where: str) -> None:
        super().__init__(f"{where}: {trouble}")
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class BucketAnswer:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes  # at most one byte more than was allowed


class BucketLine:
    """To one bucket."""

    def __init__(
        self,
        settings: BucketSettings,
        read: Callable[[], bytes],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`read` gives the secret, anew for each connection. Raises OSError, ssl.SSLError: a CA's file."""
        parts = urlsplit(settings.endpoint)
        host = parts.hostname or ""
        self._host = f"{settings.name}.{host}" if settings.addressing == "host" else host
        self._port = parts.port
        self._base = "/" if settings.addressing == "host" else f"/{settings.name}/"
        self._tls = None if parts.scheme == "http" else ssl.create_default_context(cafile=settings.ca)
        self._settings = settings
        self._read = read
        self._now = now
        self._credentials: BucketCredentials | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._cut = threading.Event()  # for good
        self.prefix = settings.prefix
        self.where = f"{settings.endpoint}/{settings.name}/{settings.prefix}"

    def ask(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> BucketAnswer:
        """One request about the object at `path`, with the prefix before it; "" is the bucket itself.

        Raises:
            BucketTrouble: there is no answer, or a part of one.
        """
        key = self._base + (f"{self.prefix}{path}" if path else "")
        request = BucketRequest(method, self._named_host(), key, query or {}, headers or {}, body)
        kept = self._connection is not None
        try:
            return self._once(request, limit)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if not kept or isinstance(error, TimeoutError) or self._cut.is_set():
                raise self._trouble(error) from error
        try:  # the connection may have ended since the last request: once more on a fresh one
            return self._once(request, limit)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise self._trouble(error) from error

    def cut(self) -> None:
        """Ends the request that is under way, and all that follow. Any thread may call."""
        self._cut.set()
        self._shut()

    def close(self) -> None:
        """Lets go of the connection."""
        self._drop()

    def trouble(self, code: TroubleCode, detail: str) -> BucketTrouble:
        """Of this bucket."""
        return BucketTrouble(Trouble(code, detail), self.where)

    def _once(self, request: BucketRequest, limit: int) -> BucketAnswer:
        # The socket's own timeout is of one wait: a server that drips stays below it for ever.
        late = threading.Event()

        def end() -> None:
            late.set()
            self._shut()

        timer = threading.Timer(DEADLINE_S, end)
        timer.daemon = True
        timer.start()
        try:
            return self._asked(request, limit, late)
        except (OSError, http.client.HTTPException) as error:
            if late.is_set():
                raise TimeoutError(f"no answer in {DEADLINE_S:g} s") from error
            raise
        finally:
            timer.cancel()

    def _asked(self, request: BucketRequest, limit: int, late: threading.Event) -> BucketAnswer:
        connection = self._connection = self._connection or self._opened()
        if connection.sock is None:
            connection.connect()
        if late.is_set() or self._cut.is_set():
            raise ConnectionAbortedError("ended")
        assert self._credentials is not None  # noqa: S101 -- `_opened` read them
        headers = signed(request, self._credentials, self._settings.region, self._now())
        connection.request(request.method, request.target, request.body or None, headers)
        response = connection.getresponse()
        body = response.read(limit + 1)
        if len(body) > limit or response.will_close:
            self._drop()
        if response.length and len(body) <= limit:
            raise http.client.IncompleteRead(body, response.length)
        return BucketAnswer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, body
        )

    def _opened(self) -> http.client.HTTPConnection:
        try:
            self._credentials = BucketCredentials(self._settings.access_key, self._read())
        except ConfigError as error:
            raise self.trouble(TroubleCode.SECRET, str(error)) from error
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=_QUIET_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_QUIET_S, context=self._tls)

    def _named_host(self) -> str:
        own = {None, 80 if self._tls is None else 443}
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port in own else f"{host}:{self._port}"

    def _shut(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    def _trouble(self, error: Exception) -> BucketTrouble:
        """The library's text, bounded and printable: a peer may have made it."""
        if isinstance(error, ssl.SSLError):
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            return self.trouble(TroubleCode.TLS, f"its TLS certificate is refused ({_printable(said)})")
        return self.trouble(TroubleCode.UNREACHABLE, _printable(str(error) or type(error).__name__))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:200]


def bucket_line(settings: BucketSettings, base: Path) -> BucketLine:
    """`base`: a relative path of the secret is relative to it. Raises ConfigError: the file of the CA is
    none."""
    try:
        return BucketLine(settings, lambda: bytes(read_secret(settings.secret, base, "bucket's secret")))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"publication.bucket.ca: {settings.ca} is no PEM of a CA that signerd's user can read: {error}"
        ) from error
