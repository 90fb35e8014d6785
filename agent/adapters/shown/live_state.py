"""Keeps what every port does now, for whoever shows it: the table, the page, `status` in another terminal.

`LiveState` is the one place that is told; the others look. `LiveFile` writes it to the state directory, where
`read_live` finds it and says whether it is still alive.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.core.events import Event
from agent.core.floor import Floor, Snapshot, shift_begin
from agent.ports import ListPorts, PortInfo

FILE_NAME = "live.json"
MAX_FILE_BYTES = 4 << 20  # 256 ports with every text at its bound are 0.4 MB
_WRITE_S = 1.0  # at most one write in this time
_STILL_S = 5.0  # and one in this time also if nothing changed
_FAILURES = 3  # until it is said: on Windows a reader may be in the way for a moment
_STALE_S = 15.0  # a file that is older was left by a station that is gone, or hangs


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)


class LiveState:
    """A `Progress`. May be asked from any thread."""

    def __init__(
        self,
        work_order: str,
        steps: int,
        *,
        shifts: Iterable[str] = (),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`shifts`: times of the wall, HH:MM, at which counts begin anew; without them they never do."""
        self._now = now
        self._shifts = tuple(time.fromisoformat(start) for start in shifts)
        self._floor = Floor(work_order=work_order, steps=steps, now=now())
        self._lock = threading.Lock()
        self._version = 0
        self._listed: frozenset[str] = frozenset()

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._version

    def shift_begin(self) -> datetime | None:
        """When the shift that is now began, in UTC; None where nothing says so."""
        begun = shift_begin(self._now().astimezone(), self._shifts)
        return None if begun is None else begun.astimezone(UTC)

    def begin_shift(self, since: datetime, *, passed: int, failed: int) -> None:
        """Goes on with what the shift has made before this station was started."""
        with self._changing() as floor:
            floor.begin_shift(since, passed=passed, failed=failed)

    def snapshot(self) -> Snapshot:
        """Everything as it stands now."""
        with self._lock:
            self._turn()
            return self._floor.snapshot(self._now())

    def watching(self, list_ports: ListPorts, places: Mapping[str, str]) -> ListPorts:
        """The same list of ports; what it finds is shown, with or without a board."""

        def listed() -> tuple[PortInfo, ...]:
            found = list_ports()
            self.ports_listed(places.get(port.name, port.name) for port in found)
            return found

        return listed

    def ports_listed(self, names: Iterable[str]) -> None:
        """These ports are there now, and no others."""
        listed = frozenset(names)
        if listed != self._listed:  # asked twice a second, and mostly the same
            self._listed = listed
            with self._changing() as floor:
                floor.ports_listed(listed)

    def notice(self, text: str) -> None:
        """Something that is no board's, for the operator."""
        with self._changing() as floor:
            floor.notice(text, self._now())

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        with self._changing() as floor:
            floor.tell(event, self._now())

    def _turn(self) -> None:
        """A shift that begins counts from nothing."""
        begun = self.shift_begin()
        if begun is not None and begun > self._floor.since:
            self._floor.begin_shift(begun)

    @contextmanager
    def _changing(self) -> Iterator[Floor]:
        with self._lock:
            self._turn()
            yield self._floor
            self._version += 1


class LiveFile:
    """Writes the state to `<state>/live.json` while it is entered, and takes the file away at the end.

    The file is replaced as a whole, so that a reader sees one moment. A disk that takes no file holds no
    board up: the station says so once, as a notice.
    """

    def __init__(self, directory: Path, live: LiveState, *, certificate: Path | None = None) -> None:
        """`certificate`: the station's, by which another station in the same folder is told."""
        self._path = directory / FILE_NAME
        self._live = live
        self._more = {} if certificate is None else {"certificate": str(certificate.resolve())}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for left in self._path.parent.glob(f"{FILE_NAME}.*"):  # by a station that was killed while it wrote
            pid = left.suffix.removeprefix(".")
            if pid.isdecimal() and not _runs(int(pid)):
                left.unlink(missing_ok=True)
        self._task = asyncio.create_task(self._keep(), name="live file")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(OSError):  # one that is left is known as stale by its time and pid
            self._path.unlink(missing_ok=True)

    async def _keep(self) -> None:
        written, written_at, failures = -1, 0.0, 0
        loop = asyncio.get_running_loop()
        while True:
            version = self._live.version
            if version != written or loop.time() - written_at >= _STILL_S:
                try:
                    # A thread that writes cannot be stopped, and must not write after the unlinking.
                    await _surely(asyncio.to_thread(self._write, self._live.snapshot()))
                    failures = 0
                except OSError as error:
                    failures += 1
                    if failures == _FAILURES:
                        self._live.notice(f"{self._path}: {error.strerror}; `status` does not see the ports")
                written, written_at = version, loop.time()
            await asyncio.sleep(_WRITE_S)

    def _write(self, snapshot: Snapshot) -> None:
        content = {"pid": os.getpid(), **self._more, **asdict(snapshot)}
        temporary = self._path.with_name(f"{FILE_NAME}.{os.getpid()}")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self._path)


async def _surely(work: Any) -> None:
    """Awaits it also when cancelled, and is cancelled afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


@dataclass(frozen=True, slots=True)
class Live:
    """What `live.json` says, and whether a station stands behind it."""

    alive: bool
    age_s: float
    pid: int
    state: Mapping[str, Any]  # members of `Snapshot`


def read_live(directory: Path, now: datetime) -> Live | None:
    """The state file, or None where there is none or none that can be read."""
    try:
        with (directory / FILE_NAME).open("rb") as file:
            data = json.loads(file.read(MAX_FILE_BYTES))
        pid, written_at = data["pid"], datetime.fromisoformat(data["time"])
        age_s = (now - written_at).total_seconds()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(pid) is not int or not isinstance(data.get("ports"), list):
        return None
    return Live(abs(age_s) < _STALE_S and _runs(pid), age_s, pid, data)


def _runs(pid: int) -> bool:
    if sys.platform == "win32" or pid <= 0:  # there, signal 0 is Ctrl-C: the time alone decides
        return pid > 0
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # it runs, as another user
    return True
