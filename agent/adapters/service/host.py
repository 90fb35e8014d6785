"""The process that Windows' service manager starts: the station on its main thread, the manager on another.

A stop of the service is what Ctrl-C is at a terminal: boards under way may finish, then they are parked. So
is the machine's shutdown, for which the manager waits as long.

How it ends tells the manager what to do. A station that was stopped, or that only a person can mend (its exit
code is the service's then), says that it has stopped. Anything else ends the process without a word, and the
manager starts it again.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import pywintypes
import servicemanager
import win32service
import winerror

from agent.core.service_account import SERVICE

if TYPE_CHECKING:
    from agent.config import Config

assert sys.platform == "win32", "services are of Windows"  # noqa: S101 -- and mypy reads on only there

_STOPS = frozenset(
    {
        win32service.SERVICE_CONTROL_STOP,
        win32service.SERVICE_CONTROL_SHUTDOWN,
        win32service.SERVICE_CONTROL_PRESHUTDOWN,
    }
)
_ACCEPTED = win32service.SERVICE_ACCEPT_STOP | win32service.SERVICE_ACCEPT_PRESHUTDOWN
_CONNECT_S = 30.0  # what the manager itself gives a process
_UNCONFIGURED_STOP_S = 30.0  # until agent.toml is read
STAYS_DOWN = 3  # the exit code of what only a person can mend


class _Told(threading.Event):
    """What the two threads tell each other: set when the station has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.running = threading.Event()
        self.stop_asked = threading.Event()
        self.stopped = threading.Event()  # the manager knows
        self.code = 0
        self.stop_s = _UNCONFIGURED_STOP_S
        self.refused = ""  # why the manager is not there


def main() -> None:
    """`birthmark-agent service host --order ORDER --config FILE`, as `service install` tells the manager."""
    match sys.argv[3:]:
        case ["--order", order, "--config", config]:
            raise SystemExit(_host(Path(config), order))
        case _:
            raise SystemExit(2)


def _host(config: Path, order: str) -> int:
    """Runs the station as the service, and returns its exit code."""
    told = _Told()
    signal.signal(signal.SIGTERM, _stopped_early)
    manager = threading.Thread(target=_serve, args=(told,), daemon=True)
    manager.start()
    if not told.running.wait(_CONNECT_S) or told.refused:
        sys.stderr.write(f"birthmark-agent: no service manager has started this: {told.refused}\n")
        return STAYS_DOWN
    try:
        from agent.adapters.service import station  # noqa: PLC0415 -- the manager does not wait for it

        def configured(found: Config) -> None:
            told.stop_s = station.longest_stop_s(found)

        code = station.run(config, order, configured)
    except SystemExit:
        code = 0  # the stop came before the station had begun
    if not told.stop_asked.is_set() and code not in {0, STAYS_DOWN}:
        os._exit(code)
    told.code = code if code == STAYS_DOWN else 0
    told.set()
    told.stopped.wait(_CONNECT_S)
    return told.code


def _stopped_early(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit


def _serve(told: _Told) -> None:
    class Service:
        """As pywin32's servicemanager wants it: made and run in a thread of the manager's."""

        def __init__(self, arguments: list[str]) -> None:
            self._handle = servicemanager.RegisterServiceCtrlHandler(arguments[0], self._control, True)  # noqa: FBT003 -- pywin32's

        def _control(self, control: int, _event: int, _data: object) -> int:
            if control in _STOPS:
                self._say(win32service.SERVICE_STOP_PENDING, wait_s=told.stop_s)
                if not told.stop_asked.is_set():
                    told.stop_asked.set()
                    _thread.interrupt_main(signal.SIGTERM)
            return winerror.NO_ERROR

        def SvcRun(self) -> None:  # noqa: N802 -- pywin32's name
            """Lasts as long as the service."""
            self._say(win32service.SERVICE_RUNNING)
            told.running.set()
            told.wait()
            self._say(win32service.SERVICE_STOPPED, told.code)
            told.stopped.set()
            threading.Event().wait()  # if it returned, pywin32 would say so once more, without the code

        def _say(self, state: int, code: int = 0, wait_s: float = 0) -> None:
            own = winerror.ERROR_SERVICE_SPECIFIC_ERROR if code else winerror.NO_ERROR
            accepted = _ACCEPTED if state == win32service.SERVICE_RUNNING else 0
            kind = win32service.SERVICE_WIN32_OWN_PROCESS
            status = (kind, state, accepted, own, code, int(bool(wait_s)), int(wait_s * 1000))
            win32service.SetServiceStatus(self._handle, status)

    try:
        servicemanager.Initialize(SERVICE, None)
        servicemanager.PrepareToHostSingle(Service)
        servicemanager.StartServiceCtrlDispatcher()  # type: ignore[no-untyped-call] # its stub says no more
    except pywintypes.error as error:
        told.refused = error.strerror
        told.running.set()
