"""Looks at a token through its module in a process of its own, and comes back whatever the module does.

    report = look(ProbeOrder(module="/usr/lib/vendor.so", token="birthmark"))
    report.parts["mechanisms"], report.fault

A module that hangs is killed after `deadline_s`, one that crashes is noticed at once; what was learnt before
stays in the report, and the fault says what was being done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from signerd.adapters.keyholder.hardening import bare_environment
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.probe_pin import ProbePin
from signerd.adapters.keyholder.protocol import FrameReader, Outcome, ProtocolError, frame
from signerd.errors import ConfigError, Fault, Unavailable

_PROGRAM = (sys.executable, "-P", "-m", "signerd.adapters.keyholder.probe_process")
_READ = 65_536
_GONE_S = 5.0  # a killed process may still wait in a driver
_MAX_SAID = 2_000  # characters of the module's own words


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """What to look at, and how long."""

    module: str
    token: str = ""  # label, serial or PKCS#11 URI; empty: the only one
    pin: ProbePin | None = None  # None: only what everybody may see
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.0  # for each kind of signature
    idle_s: float = 0.0
    deadline_s: float = 30.0  # for one call of the module


@dataclass(slots=True)
class ProbeReport:
    """What was learnt, in the order in which it was, and what went wrong in the end."""

    parts: dict[str, object] = field(default_factory=dict)
    fault: Fault | ConfigError | None = None
    said: str = ""  # on standard error, by the module


def look(order: ProbeOrder, doing: Callable[[str], None] = lambda _: None) -> ProbeReport:
    """The report. `doing` hears of each step before it is taken."""
    ours, theirs = socket.socketpair()
    listening, telling = os.pipe()
    with ours:
        with theirs, os.fdopen(telling, "wb") as pipe:
            process = subprocess.Popen(  # noqa: S603 # our own program
                _PROGRAM,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=pipe,
                env={**bare_environment(), **order.environment},
                start_new_session=True,  # so that what a module starts ends with it
            )
        said = _Said(listening)
        try:
            report = _Conversation(ours, process, order, doing).held()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GONE_S)
        report.said = said.text()
        return report


class _Said:
    """Reads standard error to its end, so that a module never waits for a reader; keeps the first words."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(self._pipe, "rb", buffering=0) as stream:
            while data := stream.read(_READ):
                self._kept = (self._kept + data)[:_MAX_SAID]

    def text(self) -> str:
        self._thread.join(_GONE_S)
        text = self._kept.decode(errors="replace")
        return "".join(
            each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
        )


class _Conversation:
    def __init__(
        self,
        line: socket.socket,
        process: subprocess.Popen[bytes],
        order: ProbeOrder,
        doing: Callable[[str], None],
    ) -> None:
        self._line, self._process, self._order, self._tell = line, process, order, doing
        self._report = ProbeReport()
        self._doing = "starting"
        self._until = time.monotonic() + order.deadline_s

    def held(self) -> ProbeReport:
        order = self._order
        logs_in = order.pin is not None
        wish = [order.module, order.token, logs_in, float(order.seconds), float(order.idle_s)]
        try:
            self._line.sendall(frame(wish))
            for item in self._items():
                if self._take(item):
                    return self._report
            self._report.fault = Unavailable(f"the module crashed while {self._doing}{self._how()}")
        except WrongPin as error:
            self._report.fault = error
        except TimeoutError:
            late = f"the module did not come back within {order.deadline_s:g} s while {self._doing}"
            self._report.fault = Unavailable(f"{late}; it was ended")
        except (ProtocolError, OSError) as error:
            self._report.fault = Unavailable(f"the probe's process broke while {self._doing}: {error}")
        return self._report

    def _items(self) -> Iterator[object]:
        reader = FrameReader(report=True)
        while True:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._line.settimeout(left)
            data = self._line.recv(_READ)
            if not data:
                return
            yield from reader.feed(data)

    def _take(self, item: object) -> bool:
        match item:
            case ["doing", str(what), int() | float() as extra_s]:
                self._doing = what
                self._until = time.monotonic() + self._order.deadline_s + extra_s
                self._tell(what)
            case ["found", str(part), value]:
                self._report.parts[part] = value
            case ["pin", str(label), str(serial)] if self._order.pin is not None:
                self._line.sendall(frame(self._order.pin.give(label, serial)))
            case ["ended", int(outcome), str(text)]:
                self._report.fault = self._fault(Outcome(outcome), text)
                return True
            case _:
                raise ProtocolError("another item than was agreed on")
        return False

    def _how(self) -> str:
        try:
            code = self._process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            return ""
        return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"

    def _fault(self, outcome: Outcome, text: str) -> Fault | ConfigError | None:
        match outcome:
            case Outcome.DONE:
                return None
            case Outcome.WRONG_PIN:
                return WrongPin(text) if self._order.pin is None else self._order.pin.rejected(text)
            case Outcome.WRONG_SETTINGS:
                return ConfigError(text)
            case _:
                return Unavailable(text)
