"""The dialogue of one serial port, for whoever looks for a fault: `--trace PORT`. JSON lines, bounded.

Messages of the board protocol are shown by their fields, everything else as the text of a console, escaped.
What is secret is not in it: a field is shown only if it stands in a list here. While the board's code or its
settings are on the line, everything else that comes is counted and not shown, because a console may echo it.
esptool opens the port in a process of its own: what that is asked and answers is in it, with times, and not
each of esptool's packets. A question that is answered as it just was is written once.

The driver of a port finds the trace in a context variable, so that drivers need no parameter for it:

    with tracing(SerialTrace(file, port)):
        async with open_driver(port) as driver: ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from smp.header import OP, Header

from agent.adapters.drivers import smp_messages as messages
from agent.adapters.drivers.smp_framing import MAX_LINE, FrameReader
from agent.adapters.log.rotating import RotatingFile

_COMMANDS = ("hello", "keygen", "request", "credential", "config", "stamp", "seal", "pop")
_SECRET = frozenset({messages.POP, messages.CONFIG})  # the label's code; settings may hold passwords
# Fields that are shown; of all others, the length. `data` is part of a content.
_SHOWN = frozenset(
    {"proto", "model", "chip", "fw", "sec", "methods", "keys", "key", "cred", "conf", "sealed"}
)
_SHOWN |= {"buf", "state", "pct", "len", "off", "sha", "err", "rc", "type", "challenge"}
_PUBLIC_DATA = frozenset({messages.REQUEST, messages.CREDENTIAL, messages.STAMP})  # CSR, certificate, stamp
# What is shown of a question to esptool's process, and of its answer; of all else, the size. Contents of
# flash are not: settings may stand in it.
_ASKED = frozenset({"port", "before", "after", "attempts", "baudrate", "mac", "regions", "offset", "size"})
_ASKED |= {"pieces", "burns"}
_ANSWERED = frozenset(
    {"chip", "mac", "revision", "description", "secure_download", "secure_boot", "flash_size"}
)
_ANSWERED |= {"secure_boot_v1", "digests", "crypt_count", "crypt_count_fixed", "key_burned", "debug_closed"}
_ANSWERED |= {"md5", "burned", "bytes", "error", "detail"}
_OF_A_PIECE = frozenset({"offset", "path", "sha256", "start", "end"})
_FRAME = re.compile(rb"\x06\x09|\x04\x14")  # what a line of a message holds
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{24,}")  # a message whose beginning was lost, in base64
_MOST = 200  # characters or items of what is shown of one field

_current: ContextVar[SerialTrace | None] = ContextVar("trace", default=None)


def current_trace() -> SerialTrace | None:
    """The trace of the port that this task serves; None where nobody asked for one."""
    return _current.get()


@contextmanager
def tracing(trace: SerialTrace | None) -> Iterator[None]:
    """Lines that are opened meanwhile, by this task, are traced."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


class SerialTrace:
    """What goes over one port. A file that cannot be written ends the trace, and no board."""

    def __init__(self, file: RotatingFile, notice: Callable[[str], None]) -> None:
        self._file: RotatingFile | None = file
        self._notice = notice
        self._secret_on_the_line = False
        self._codes: set[str] = set()
        self._sides = {way: _Side() for way in "<>"}
        self._asked: tuple[str, dict[str, object]] | None = None  # of esptool's process, and not answered yet
        self._unsaid_since: datetime | None = None  # it is the question before once more
        self._exchange: tuple[object, object] | None = None  # the last question, and its answer
        self.begun = False  # the port was opened

    def opened(self, port: str, baudrate: int) -> None:
        """The port was opened: nothing that was half said before goes on."""
        self._sides = {way: _Side() for way in "<>"}
        self.begun = True
        self._say("-", kind="opened", port=port, baudrate=baudrate)

    def closed(self) -> None:
        """The port was closed. Text without an end of its line is shown now."""
        side = self._sides["<"]
        if side.line:
            self._text(bytes(side.line), hidden=side.hidden)
        self._say("-", kind="closed")

    def sent(self, data: bytes) -> None:
        """The station sent this."""
        for message in self._sides[">"].frames.feed(data):
            command = message[7]
            self._secret_on_the_line = message[4:6] == bytes([0, messages.GROUP]) and command in _SECRET
            self._message(">", message)

    def heard_by(self, on_bytes: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """What takes bytes that the board sent, traces them, and hands them on."""

        def heard(data: bytes) -> None:
            self.received(data)
            on_bytes(data)

        return heard

    def received(self, data: bytes) -> None:
        """The board sent this."""
        side = self._sides["<"]
        secret = self._secret_on_the_line
        found = side.frames.feed(data)
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._text(bytes(side.line + end), hidden=side.hidden or secret)
            side.line.clear()
            side.hidden = False
        side.line += rest
        side.hidden |= secret and bool(rest)
        if len(side.line) > MAX_LINE:
            self._text(bytes(side.line), hidden=side.hidden)  # what goes on is of the same line
            side.line.clear()
        for message in found:
            self._message("<", message)

    def asked(self, command: str, fields: Mapping[str, object]) -> None:
        """esptool's process is asked this."""
        self.begun = True
        self._asked = command, _of_worker(fields, _ASKED)
        again = self._exchange is not None and self._exchange[0] == self._asked
        self._unsaid_since = datetime.now(UTC) if again else None
        if not again:
            self._say(">", kind="esptool", command=command, body=self._asked[1])

    def answered(self, answer: Mapping[str, object], seconds: float) -> None:
        """It answered this, or failed with `error` and `detail`."""
        if self._asked is None:
            return
        command, question = self._asked
        exchange = self._asked, (shown := _of_worker(answer, _ANSWERED))
        if self._unsaid_since is not None:
            if exchange == self._exchange:
                return
            self._say(">", at=self._unsaid_since, kind="esptool", command=command, body=question)
        self._exchange = exchange
        self._say("<", kind="esptool", command=command, seconds=round(seconds, 3), body=shown)

    def _text(self, line: bytes, *, hidden: bool) -> None:
        if _FRAME.search(line) or not line.strip():
            return  # a part of a message; what holds is shown as one, and what does not hold may be a secret
        if hidden:
            self._say("<", kind="text", bytes=len(line))
            return
        text = line.decode("ascii", "backslashreplace").rstrip("\r")
        for code in self._codes:
            text = text.replace(code, "(the code)")
        text = _LONG_RUN.sub(lambda run: f"({len(run[0])} characters)", text)
        self._say("<", kind="text", text=text[:MAX_LINE])

    def _message(self, way: str, message: bytes) -> None:
        if len(message) < Header.SIZE:
            return
        group, sequence, command = int.from_bytes(message[4:6], "big"), message[6], message[7]
        ours = group == messages.GROUP
        name = _COMMANDS[command] if ours and command < len(_COMMANDS) else str(command)
        body = messages.decode_body(message)
        if ours and command == messages.POP and body is not None and isinstance(body.get("pop"), str):
            self._codes |= {body["pop"]} if body["pop"] else set()
        operation = message[0] & 0b111
        self._say(
            way,
            kind="message",
            group=group,
            command=name,
            op=OP(operation).name.lower() if operation in set(OP) else operation,
            sequence=sequence,
            bytes=len(message),
            body=None if body is None else _fields(body, command if ours else None),
        )

    def _say(self, way: str, at: datetime | None = None, **members: object) -> None:
        if self._file is None:
            return
        moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
        try:
            self._file.write(json.dumps({"time": moment, "way": way, **members}, default=str))
        except OSError as error:
            self._notice(f"{self._file.path}: {error.strerror or error}; the trace has ended")
            self._file = None


class _Side:
    """What came from one side and is not complete."""

    def __init__(self) -> None:
        self.frames = FrameReader()
        self.line = bytearray()
        self.hidden = False  # a secret was on the line while this line came


def _fields(body: dict[object, object], command: int | None) -> dict[str, object]:
    """What of a message may be seen. `command`: of our group; None: another, whose fields nobody knows."""
    shown: dict[str, object] = {}
    for key, value in list(body.items())[:_MOST]:
        name = str(key)[:_MOST]
        public = command is not None and (name in _SHOWN or (name == "data" and command in _PUBLIC_DATA))
        if command == messages.POP:
            public = name in {"err", "rc"}
        shown[name] = _value(value) if public else f"({_size(value)}, not shown)"
    return shown


def _of_worker(fields: Mapping[str, object], shown: frozenset[str]) -> dict[str, object]:
    return {
        name[:_MOST]: _pieces(value)
        if name == "pieces"
        else _value(value)
        if name in shown
        else f"({_size(value)}, not shown)"
        for name, value in list(fields.items())[:_MOST]
    }


def _pieces(pieces: object) -> object:
    """Which files are written where, and how much of what stands in no file."""
    return [
        {
            name: _value(value) if name in _OF_A_PIECE else f"({_size(value)}, not shown)"
            for name, value in one.items()
        }
        for one in (pieces if isinstance(pieces, list) else ())[:_MOST]
    ]


def _value(value: object) -> object:
    if isinstance(value, bytes):
        return value[: _MOST // 2].hex() + ("…" if len(value) > _MOST // 2 else "")
    if isinstance(value, str):
        return value[:_MOST]
    if isinstance(value, dict):
        return {str(key)[:_MOST]: _value(one) for key, one in list(value.items())[:_MOST]}
    return [_value(one) for one in value[:_MOST]] if isinstance(value, list) else value


def _size(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes | str) else type(value).__name__
