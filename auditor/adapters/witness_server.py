"""The witness's HTTP: `POST …/add-checkpoint`, bounded in every direction.

A connection has one request under way, each with a deadline and a size; beyond so many connections the next
one is closed at once. Requests are judged one after the other, in a thread that waits for the disk.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from auditor.adapters.witness_journal import Event, WitnessJournal, signed_by
from auditor.adapters.witness_state import WitnessState
from auditor.core.witnessing import (
    MAX_REQUEST,
    SIZE_TYPE,
    NotCosigned,
    Request,
    judge,
    parse_request,
    signed_checkpoint,
)
from birthmark.proof.cosignature import cosignature_line, message_to_cosign

MAX_CONNECTIONS = 64
DEADLINE_S = 15.0  # of one request, from its first byte to the answer; and of a connection that says nothing
MAX_HEAD = 8_192  # bytes of request line and headers
_PATH = "/add-checkpoint"


@dataclass(frozen=True, slots=True)
class _Head:
    """Of a request. `refused`: it is answered with this, and nothing more is read."""

    refused: HTTPStatus | None = None
    length: int = 0
    last: bool = True  # the connection ends with the answer
    waits: bool = False  # for leave to send its body


class WitnessServer:
    """Serves one witness. `start` it on the event loop."""

    def __init__(
        self, state: WitnessState, journal: WitnessJournal, now: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._journal = journal
        self._now = now
        self._open = 0
        self._turn = asyncio.Lock()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Takes connections from now on. Raises OSError."""
        handshake_s = None if tls is None else DEADLINE_S
        return await asyncio.start_server(
            self._serve, host, port, ssl=tls, limit=MAX_HEAD, ssl_handshake_timeout=handshake_s
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(DEADLINE_S):
                    goes_on = await self._one(reader, writer)
                    await writer.drain()
                if not goes_on:
                    return
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # the caller's: it is gone, late, or sends what is no request
        finally:
            self._open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; whether another may follow on the connection."""
        head = _head(await reader.readuntil(b"\r\n\r\n"))
        if head.refused is not None:
            return _answer(writer, head.refused, last=True)
        if head.waits:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(head.length)
        try:
            line = await self._cosigned(body)
        except NotCosigned as error:
            sized = b"" if error.size is None else f"{error.size}\n".encode()
            kind = SIZE_TYPE if error.size is not None else "text/plain"
            return _answer(writer, error.status, sized, kind, last=head.last)
        return _answer(writer, HTTPStatus.OK, line, last=head.last)

    async def _cosigned(self, body: bytes) -> bytes:
        """The cosignature, once the tree is on the disk. Raises NotCosigned."""
        request = parse_request(body)
        async with self._turn:
            return await asyncio.to_thread(self._cosign, request)

    def _cosign(self, request: Request) -> bytes:
        logs = self._state.logs
        checkpoint = signed_checkpoint(request, logs)
        size, origin = checkpoint.size, checkpoint.origin
        try:
            grown = self._state.replace(checkpoint, lambda kept: judge(request, checkpoint, kept))
        except NotCosigned as error:
            if error.told:
                note = signed_by(checkpoint.note, logs[origin])
                self._journal.repeatable(Event(error.told, origin, size, error.detail, note))
            raise
        moment = int(self._now())
        signature = self._state.sign(message_to_cosign(checkpoint, moment))
        if grown:
            self._journal.new(Event("cosigned", origin, size))
        else:
            self._journal.repeatable(Event("cosigned", origin, size))
        return cosignature_line(self._state.vkey, moment, signature)


def _head(data: bytes) -> _Head:
    line, *rest = data.decode("latin-1").split("\r\n")[:-2]
    method, _, tail = line.partition(" ")
    target, _, version = tail.partition(" ")
    parts = [header.partition(":") for header in rest]
    named = {name.strip().lower(): value.strip() for name, _, value in parts}
    refused = _refused(method, target, version, named)
    if refused is not None:
        return _Head(refused)
    last = version == "HTTP/1.0" or named.get("connection", "").lower() == "close"
    waits = named.get("expect", "").lower() == "100-continue"
    return _Head(length=int(named["content-length"]), last=last, waits=waits)


def _refused(method: str, target: str, version: str, named: Mapping[str, str]) -> HTTPStatus | None:
    length = named.get("content-length", "")
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        return HTTPStatus.BAD_REQUEST
    if target.partition("?")[0] != _PATH:
        return HTTPStatus.NOT_FOUND
    if method != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED
    if not (length.isascii() and length.isdecimal()) or "transfer-encoding" in named:
        return HTTPStatus.LENGTH_REQUIRED
    if len(length) > len(str(MAX_REQUEST)) or int(length) > MAX_REQUEST:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None


def _answer(
    writer: asyncio.StreamWriter,
    status: HTTPStatus,
    body: bytes = b"",
    kind: str = "text/plain",
    *,
    last: bool,
) -> bool:
    """Writes it; whether the connection goes on."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'close' if last else 'keep-alive'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + body)
    return not last
