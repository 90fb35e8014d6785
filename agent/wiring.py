"""Puts a station together from its configuration and runs it: the place that chooses implementations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from agent.adapters.checks.enrolment import own_name
from agent.adapters.checks.finding import Examined
from agent.adapters.checks.ports import check_names
from agent.adapters.checks.shop import check_places
from agent.adapters.checks.station import demand_files, demand_signerd
from agent.adapters.drivers.registry import find_driver
from agent.adapters.enrolment.credentials import trust_of
from agent.adapters.enrolment.renewal import StationRenewal
from agent.adapters.journal.recordings import RecordingFiles
from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.journal.store import SqliteJournal
from agent.adapters.line.port_lock import port_lock
from agent.adapters.line.serial_port import list_ports
from agent.adapters.line.watch import Plan, PortWatch
from agent.adapters.log.trace import SerialTrace, tracing
from agent.adapters.parts import (
    firmware_of,
    labels_of,
    operations_cas,
    places_of,
    read_recipe,
    signer_of,
)
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.outbox import OutboxSender
from agent.adapters.signer.seen_checkpoint import SeenCheckpoint
from agent.adapters.stop_signals import on_stop
from agent.config import Config
from agent.core.events import Event, Progress
from agent.core.result import Result
from agent.errors import AgentError, ConfigError, LineError, NotedError
from agent.ports import Driver, ListPorts
from agent.provision import provision
from agent.station import StationContext
from agent.steps import Bounds


class SystemClock:
    """See `agent.ports.Clock`."""

    def now_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Traced:
    """Which port is traced, by its device, name or place, and to where."""

    port: str
    trace: SerialTrace


@dataclass(frozen=True)
class OpenStation:
    """A station that is open, and how its ports are opened."""

    station: StationContext
    signer: GrpcSigner
    open_driver: Callable[[str], AbstractAsyncContextManager[Driver]]
    places: Mapping[str, str]

    def tracing(self, traced: Traced | None) -> OpenStation:
        """The same; the dialogue of one port is traced."""
        return self if traced is None else replace(self, open_driver=partial(_open_traced, self, traced))

    async def place_of(self, port: str) -> str:
        """What a device is called on the line; its own name where nothing names it."""
        if not self.places or port in self.places:
            return self.places.get(port, port)
        try:
            present = await asyncio.to_thread(list_ports)
        except LineError:
            return port  # another port vanished meanwhile
        return next((self.places.get(found.name, port) for found in present if found.device == port), port)


class _AfterStart:
    """What is said of the line, from the start on: a start that is refused says the same itself, and once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._kept: list[Event] | None = []

    def started(self) -> None:
        """No error was raised: what was kept is said now, and all else at once."""
        kept, self._kept = self._kept or (), None
        for event in kept:
            self._progress(event)

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        if self._kept is None:
            self._progress(event)
        else:
            self._kept.append(event)


@asynccontextmanager
async def open_line(config: Config, progress: Progress) -> AsyncIterator[OpenStation]:
    """A station with its journal, its connection to signerd and its firmware open.

    Raises:
        ConfigError: the configuration is wrong, or what it names: enrolment, driver, recipe, bundle, labels.
        JournalError: the journal cannot be opened.
    """
    kind = find_driver(config.driver)
    await demand_files(Examined(config))
    said = _AfterStart(progress)
    trust, recipe = trust_of(config.signerd), read_recipe(config)
    seen = SeenCheckpoint(config.state, trust.log_key, partial(operations_cas, config.signerd))
    signer = signer_of(config, said, seen)
    labels = labels_of(config)
    places = places_of(config)
    firmware = await firmware_of(config)
    async with (
        SqliteJournal(config.state / FILE_NAME, station=own_name(config).uri) as journal,
        RecordingFiles(config.state) as recordings,
        signer,
    ):
        await demand_signerd(Examined(config, signer=signer))
        said.started()
        station = StationContext(
            signer=signer,
            journal=journal,
            progress=progress,
            clock=SystemClock(),
            trust=trust,
            recipe=recipe,
            bounds=Bounds(config.timeouts.signer_wait_s, config.timeouts.stamp_wait_s),
            bundle=None if firmware is None else firmware.bundle,
            labels=labels,
            board_retries=config.board_retries,
            keep_recording=recordings.keep,
            followed=lambda: seen.key,
        )
        options = config.drivers.get(config.driver, {})
        open_driver = partial(kind.open, options=options, firmware=firmware)
        yield OpenStation(station, signer, partial(_open_alone, config.state, open_driver), places)


@asynccontextmanager
async def _open_alone(
    state: Path, open_driver: Callable[[str], AbstractAsyncContextManager[Driver]], port: str
) -> AsyncIterator[Driver]:
    with port_lock(state, port):
        async with open_driver(port) as driver:
            yield driver


@asynccontextmanager
async def _open_traced(line: OpenStation, traced: Traced, port: str) -> AsyncIterator[Driver]:
    names = (port, await line.place_of(port), await _name_of(port))
    with tracing(traced.trace if traced.port in names else None):
        async with line.open_driver(port) as driver:
            yield driver


async def _name_of(device: str) -> str:
    try:
        present = await asyncio.to_thread(list_ports)
    except LineError:
        return device
    return next((found.name for found in present if found.device == device), device)


async def provision_one(
    config: Config, port: str, work_order: str, progress: Progress, traced: Traced | None = None
) -> Result:
    """Takes the board on one port through the recipe. Told to stop, it parks the board and is cancelled."""
    with suppress(LineError):  # a port that is not there is the board's result
        await asyncio.to_thread(check_names, (port,))
    async with open_line(config, progress) as opened:
        line = opened.tracing(traced)
        place = await line.place_of(port)
        task = asyncio.ensure_future(provision(line.station, place, line.open_driver(port), work_order))
        with on_stop(task.cancel, task.cancel):
            return await task


async def run_ports(
    config: Config,
    ports: Sequence[str],
    plan: Plan,
    progress: Progress,
    *,
    seen_by: Callable[[ListPorts, Mapping[str, str]], ListPorts] = lambda listed, _places: listed,
    traced: Traced | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> None:
    """Watches ports and sends the outbox until the plan is fulfilled or a signal comes.

    `seen_by` is shown each list of ports: a port without a board has no other word. `notice` is told of a
    named port that is not there; it is waited for, unless each port has but one board and none is there.

    Raises:
        ConfigError: no port is there, and none can be waited for.
        AgentError: the station itself cannot work: configuration, journal, or a signerd that answers wrongly.
    """
    patterns = tuple(ports) or config.ports
    await _demand_ports(patterns, plan, notice)
    await _note_places(config, patterns, notice)
    async with open_line(config, progress) as opened, StationRenewal(config, opened.signer):
        line = opened.tracing(traced)
        listed = seen_by(partial(list_ports, patterns, discover=not patterns), line.places)
        watch = PortWatch(line.station, line.open_driver, listed, replace(plan, places=line.places))
        outbox = OutboxSender(line.station)
        sending = asyncio.create_task(outbox.run())
        sending.add_done_callback(lambda _task: watch.stopping.set())
        watching = asyncio.create_task(watch.run())
        with on_stop(watch.stopping.set, watching.cancel):
            with suppress(asyncio.CancelledError):
                await watching
            failure = await _end(sending)
            if failure is None and watch.fault is None:
                await outbox.flush()
    fault = watch.fault or failure
    if fault is not None:
        raise fault


async def _demand_ports(patterns: Sequence[str], plan: Plan, notice: Callable[[str], None]) -> None:
    try:
        await asyncio.to_thread(check_names, patterns)
    except LineError as error:
        if plan.once and not await asyncio.to_thread(list_ports, patterns, discover=False):
            raise ConfigError(error.detail, remedy=error.remedy) from error  # no board was tried
        notice(f"{error.detail}: waiting for it. {error.remedy}" if not plan.once else error.detail)


async def _note_places(config: Config, patterns: Sequence[str], notice: Callable[[str], None]) -> None:
    if not config.places:
        return
    try:
        await asyncio.to_thread(check_places, config, patterns)
    except (NotedError, LineError) as error:  # boards go on, under the names of their ports
        notice(f"{error.detail}. {error.remedy}")


async def _end(sending: asyncio.Task[None]) -> AgentError | None:
    """Ends the outbox's task; what it failed with, if it did."""
    sending.cancel()
    try:
        await sending
    except asyncio.CancelledError:
        return None
    except AgentError as error:
        return error
    return None
