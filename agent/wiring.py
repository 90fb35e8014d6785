"""Puts a station together from its configuration and runs it: the place that chooses implementations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from agent.adapters.bundle_files import open_firmware
from agent.adapters.drivers.registry import find_driver
from agent.adapters.enrolment.credentials import (
    check_pair,
    parse_cas,
    parse_certificate,
    read_file,
    read_trust,
)
from agent.adapters.enrolment.renewal import StationRenewal
from agent.adapters.journal.recordings import RecordingFiles
from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.journal.store import SqliteJournal
from agent.adapters.line.port_lock import port_lock
from agent.adapters.line.serial_port import list_ports
from agent.adapters.line.watch import Plan, PortWatch
from agent.adapters.log.trace import SerialTrace, tracing
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.line_state import LineState
from agent.adapters.signer.outbox import OutboxSender
from agent.adapters.signer.tls_probe import diagnose
from agent.adapters.stop_signals import on_stop
from agent.config import Config
from agent.core.events import Progress
from agent.core.recipe import Recipe, RecipeError, StepName, default_recipe, parse_recipe
from agent.core.result import Result
from agent.errors import AgentError, ConfigError, LineError
from agent.ports import Driver, DriverKind, Firmware, Labels, ListPorts
from agent.program import program_version
from agent.provision import provision
from agent.station import StationContext
from agent.steps import Bounds

_DIAGNOSIS_S = 3.0  # for a look at the line that does not stand
_RECIPE_REMEDY = 'docs/stations.md, "Recipes", says what may stand where.'


class SystemClock:
    """See `agent.ports.Clock`."""

    def now_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


def read_recipe(config: Config) -> Recipe:
    """The configured recipe, or the driver's own; one that this station can take. Raises ConfigError."""
    kind = find_driver(config.driver)
    recipe = _default_recipe(config, kind)
    where = f"the recipe of driver {config.driver}"
    if config.recipe is not None:
        where = str(config.recipe)
        recipe = _parsed(where, read_file(config.recipe))
    _check_recipe(config, kind, recipe, where)
    return recipe


def _default_recipe(config: Config, kind: DriverKind) -> Recipe:
    """The driver's own recipe, without a step for labels where the station has none."""
    recipe = default_recipe(kind.steps)
    if kind.default_recipe is not None:
        recipe = _parsed(f"the recipe of driver {config.driver}", kind.default_recipe)
    if config.label is None:
        return replace(recipe, steps=tuple(step for step in recipe.steps if step.name is not StepName.LABEL))
    return recipe


def _parsed(where: str, data: bytes) -> Recipe:
    try:
        return parse_recipe(data)
    except RecipeError as error:
        raise ConfigError(f"{where}: {error}", remedy=_RECIPE_REMEDY) from error


def _check_recipe(config: Config, kind: DriverKind, recipe: Recipe, where: str) -> None:
    for name in recipe.names:
        if name not in kind.steps:
            detail = f"{where}: step {name}: driver {config.driver} has no such step"
            raise ConfigError(
                detail, remedy="Take the step out of the recipe, or set the product's `driver`."
            )
    if StepName.FLASH in recipe.names and config.bundle is None:
        detail = f"{where}: step {StepName.FLASH}: no [bundle] is configured"
        raise ConfigError(detail, remedy="Name the product's bundle and its key in agent.toml: [bundle].")
    if StepName.LABEL in recipe.names and config.label is None:
        detail = f"{where}: step {StepName.LABEL}: no [label] is configured"
        raise ConfigError(detail, remedy="Say in agent.toml where labels go: [label].")
    if config.bundle is not None and kind.check_firmware is None:
        detail = f"[bundle] is configured, and driver {config.driver} takes none"
        raise ConfigError(detail, remedy="Take [bundle] out of agent.toml, or set the product's `driver`.")


def signer_of(config: Config, progress: Progress | None = None) -> GrpcSigner:
    """The line to signerd, not open yet. `progress` is told why it does not stand, and when it does again.

    Raises ConfigError: a wrong file would look like a dead line.
    """
    wanted = config.signerd
    operations_ca, certificate = read_file(wanted.operations_ca), read_file(wanted.certificate)
    key = read_file(wanted.key)
    parse_cas(operations_ca, str(wanted.operations_ca))
    check_pair(parse_certificate(certificate, str(wanted.certificate)), key)
    line = None
    if progress is not None:
        line = LineState(progress, partial(diagnose, wanted, timeout_s=_DIAGNOSIS_S))
    return GrpcSigner(
        wanted.address,
        operations_ca=operations_ca,
        certificate=certificate,
        key=key,
        deadline_s=config.timeouts.call_s,
        version=program_version(),
        clock_bound=timedelta(seconds=config.clock_bound_s),
        line=line,
    )


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


@asynccontextmanager
async def open_line(config: Config, progress: Progress) -> AsyncIterator[OpenStation]:
    """A station with its journal, its line to signerd and its firmware open.

    Raises:
        ConfigError: the configuration is wrong, or what it names: enrolment, driver, recipe, bundle, labels.
        JournalError: the journal cannot be opened.
    """
    kind = find_driver(config.driver)
    signer = signer_of(config, progress)
    trust, recipe = read_trust(config.signerd.log_vkey, config.signerd.device_root), read_recipe(config)
    labels = _open_labels(config)
    places = places_of(config)
    firmware = await firmware_of(config)
    async with (
        SqliteJournal(config.state / FILE_NAME) as journal,
        RecordingFiles(config.state) as recordings,
        signer,
    ):
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


def _open_labels(config: Config) -> Labels | None:
    if config.label is None:
        return None
    from agent.adapters.labels.open import open_labels  # noqa: PLC0415 -- what draws labels is of no use to others

    return open_labels(config.label)


def places_of(config: Config) -> Mapping[str, str]:
    """What ports are called. Raises ConfigError: two of one name would be one in tables and on labels.

    Nor may one be called by the name of another: the other could lose its place, or be shown without it.
    """
    shown = list(config.places.values())
    twice = sorted({place for place in shown if shown.count(place) > 1})
    if twice:
        raise ConfigError(f"places: {', '.join(twice)} stands twice", remedy="Give each port its own place.")
    names = sorted(place for name, place in config.places.items() if place != name and place in config.places)
    if names:
        detail = f"places: {', '.join(names)} is the name of another port"
        raise ConfigError(detail, remedy="Call each port by where it is, and by no port's name.")
    return config.places


async def firmware_of(config: Config) -> Firmware | None:
    """The bundle, verified with the company's key and by the driver, as files. Raises ConfigError."""
    check_firmware = find_driver(config.driver).check_firmware
    if config.bundle is None or check_firmware is None:
        return None
    firmware = await asyncio.to_thread(open_firmware, config.bundle, config.state)
    await check_firmware(firmware)
    return firmware


async def provision_one(
    config: Config, port: str, work_order: str, progress: Progress, traced: Traced | None = None
) -> Result:
    """Takes the board on one port through the recipe. Told to stop, it parks the board and is cancelled."""
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
) -> None:
    """Watches ports and sends the outbox until the plan is fulfilled or a signal comes.

    `seen_by` is shown each list of ports: a port without a board has no other word.

    Raises:
        AgentError: the station itself cannot work: configuration, journal, or a signerd that answers wrongly.
    """
    patterns = tuple(ports) or config.ports
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
