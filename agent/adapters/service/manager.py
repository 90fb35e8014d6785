"""The station's entry with Windows' service manager: installed, looked at, removed.

It starts with the machine, under an account of its own that has no password (`agent.core.service_account`).
A process that dies is started again. One that ends because a person has to mend something is not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pywintypes
import win32service
import winerror

from agent.core.service_account import ACCOUNT, SERVICE
from agent.errors import ConfigError

assert sys.platform == "win32", "services are of Windows"  # noqa: S101 -- and mypy reads on only there

if TYPE_CHECKING:
    from _win32typing import PySC_HANDLE

_TITLE = "Birthmark station"
_DESCRIPTION = "Certifies boards on serial lines. birthmark-agent service status says how it is."
_KIND = win32service.SERVICE_WIN32_OWN_PROCESS
_NO_TAG = False  # of a group of drivers
_RESTARTS_MS = (2_000, 10_000, 60_000)  # the last one for each further time
_FORGIVEN_S = 3_600  # after so long without a failure the first one counts again
_START_S = 60.0
_STATES = {
    win32service.SERVICE_STOPPED: "stopped",
    win32service.SERVICE_START_PENDING: "starting",
    win32service.SERVICE_STOP_PENDING: "stopping",
    win32service.SERVICE_RUNNING: "running",
}
_NO_SERVICE = "Install it: birthmark-agent service install --order ORDER"


@dataclass(frozen=True, slots=True)
class Installed:
    """How the service is."""

    state: str
    pid: int | None
    exit_code: int | None  # of the station itself, where it has ended by itself
    command: str
    account: str
    automatic: bool


def install(command: str, *, stop_s: float) -> None:
    """Makes the service, or gives the one that is there this command, and starts it.

    Args:
        command: what the manager runs.
        stop_s: how long a stop takes at most; the machine waits as long when it is shut down.

    Raises:
        ConfigError: this account may not, or the service does not start.
    """
    with _manager(win32service.SC_MANAGER_CREATE_SERVICE) as manager:
        try:
            service = _open(manager)
        except ConfigError:
            service = win32service.CreateService(
                manager, SERVICE, _TITLE, win32service.SERVICE_ALL_ACCESS, _KIND,
                win32service.SERVICE_AUTO_START, win32service.SERVICE_ERROR_NORMAL,
                command, None, _NO_TAG, None, ACCOUNT, None,
            )  # fmt: skip
        else:
            _stop(service)
            win32service.ChangeServiceConfig(
                service, _KIND, win32service.SERVICE_AUTO_START, win32service.SERVICE_ERROR_NORMAL,
                command, None, _NO_TAG, None, ACCOUNT, None, _TITLE,
            )  # fmt: skip
        _settle(service, stop_s)
        win32service.StartService(service, None)
        _wait(service, {win32service.SERVICE_RUNNING, win32service.SERVICE_STOPPED}, _START_S)


def _settle(service: PySC_HANDLE, stop_s: float) -> None:
    """What CreateService does not take."""
    actions = [(win32service.SC_ACTION_RESTART, milliseconds) for milliseconds in _RESTARTS_MS]
    failures = {"ResetPeriod": _FORGIVEN_S, "RebootMsg": None, "Command": None, "Actions": actions}
    for what, value in (
        (win32service.SERVICE_CONFIG_DESCRIPTION, _DESCRIPTION),
        (win32service.SERVICE_CONFIG_FAILURE_ACTIONS, failures),
        (win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO, int(stop_s * 1000)),
    ):
        win32service.ChangeServiceConfig2(service, what, value)


def look() -> Installed:
    """How it is. Raises ConfigError: there is none."""
    with _manager(win32service.SC_MANAGER_CONNECT) as manager:
        service = _open(manager, win32service.SERVICE_QUERY_CONFIG | win32service.SERVICE_QUERY_STATUS)
        status = _status(service)
        config = win32service.QueryServiceConfig(service)
    code = status["Win32ExitCode"]
    if code == winerror.ERROR_SERVICE_SPECIFIC_ERROR:
        code = status["ServiceSpecificExitCode"]
    return Installed(
        state=_STATES.get(status["CurrentState"], "paused"),
        pid=status["ProcessId"] or None,
        exit_code=None if code == winerror.ERROR_SERVICE_NEVER_STARTED else code,
        command=config[3],
        account=config[7],
        automatic=config[1] == win32service.SERVICE_AUTO_START,
    )


def remove() -> None:
    """Stops it, and takes it away. Files stay. Raises ConfigError."""
    with _manager(win32service.SC_MANAGER_CONNECT) as manager:
        service = _open(manager)
        _stop(service)
        win32service.DeleteService(service)


def _stop(service: PySC_HANDLE) -> None:
    """Waits as long as `install` was told that a stop may take."""
    if _status(service)["CurrentState"] == win32service.SERVICE_STOPPED:
        return
    try:
        win32service.ControlService(service, win32service.SERVICE_CONTROL_STOP)
    except pywintypes.error as error:
        # It has just ended by itself, or it is being stopped already.
        if error.winerror not in {
            winerror.ERROR_SERVICE_NOT_ACTIVE,
            winerror.ERROR_SERVICE_CANNOT_ACCEPT_CTRL,
        }:
            raise
    milliseconds = win32service.QueryServiceConfig2(service, win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO)
    _wait(service, {win32service.SERVICE_STOPPED}, int(milliseconds) / 1000)


def _wait(service: PySC_HANDLE, states: set[int], seconds: float) -> None:
    until = time.monotonic() + seconds
    while _status(service)["CurrentState"] not in states:
        if time.monotonic() > until:
            raise ConfigError(
                f"the service {SERVICE} hangs", remedy="End its process in the Task Manager, and try again."
            )
        time.sleep(0.1)


def _status(service: PySC_HANDLE) -> dict[str, int]:
    return cast("dict[str, int]", win32service.QueryServiceStatusEx(service))  # its stub says otherwise


def _open(manager: PySC_HANDLE, rights: int = win32service.SERVICE_ALL_ACCESS) -> PySC_HANDLE:
    try:
        return win32service.OpenService(manager, SERVICE, rights)
    except pywintypes.error as error:
        if error.winerror != winerror.ERROR_SERVICE_DOES_NOT_EXIST:
            raise
        raise ConfigError(f"there is no service {SERVICE} here", remedy=_NO_SERVICE) from error


@contextmanager
def _manager(rights: int) -> Iterator[PySC_HANDLE]:
    try:
        yield win32service.OpenSCManager(None, None, rights | win32service.SC_MANAGER_CONNECT)
    except pywintypes.error as error:
        if error.winerror == winerror.ERROR_ACCESS_DENIED:
            remedy = 'Run it in a prompt of an administrator (right click, "Run as administrator").'
        elif error.winerror == winerror.ERROR_SERVICE_MARKED_FOR_DELETE:
            remedy = (
                'Close the window "Services" and the Task Manager, which hold the old one, and try again.'
            )
        else:
            remedy = f"Windows' error {error.winerror}: see what the event log says of {SERVICE}."
        raise ConfigError(f"service {SERVICE}: {error.strerror}", remedy=remedy) from error
