"""Puts a station together from its configuration and runs it: the place that chooses implementations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from agent.adapters.credentials import read_file, read_trust
from agent.adapters.driver_registry import find_driver
from agent.adapters.journal import SqliteJournal
from agent.adapters.journal_schema import FILE_NAME
from agent.adapters.outbox import OutboxSender
from agent.adapters.serial_port import list_ports
from agent.adapters.signer_client import GrpcSigner
from agent.adapters.stop_signals import on_stop
from agent.adapters.watch import Plan, PortWatch
from agent.config import Config
from agent.core.recipe import Recipe, RecipeError, default_recipe, parse_recipe
from agent.core.result import Result
from agent.errors import AgentError, ConfigError
from agent.ports import Driver, Progress
from agent.provision import provision
from agent.tries import Bounds
from agent.way import Station


class SystemClock:
    """See `agent.ports.Clock`."""

    def now_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


def read_recipe(config: Config) -> Recipe:
    """The configured recipe, or the default one. Raises ConfigError."""
    if config.recipe is None:
        return default_recipe()
    try:
        return parse_recipe(read_file(config.recipe))
    except RecipeError as error:
        raise ConfigError(f"{config.recipe}: {error}") from error


def signer_of(config: Config) -> GrpcSigner:
    """The line to signerd, not open yet. Raises ConfigError."""
    return GrpcSigner(
        config.signerd.address,
        operations_ca=read_file(config.signerd.operations_ca),
        certificate=read_file(config.signerd.certificate),
        key=read_file(config.signerd.key),
        deadline_s=config.timeouts.call_s,
    )


def opener(config: Config) -> Callable[[str], AbstractAsyncContextManager[Driver]]:
    """Opens a port with the configured driver. Raises ConfigError."""
    return partial(find_driver(config.driver), options=config.drivers.get(config.driver, {}))


@asynccontextmanager
async def open_station(config: Config, progress: Progress) -> AsyncIterator[Station]:
    """A station, its journal and its line to signerd open. Raises ConfigError and JournalError."""
    signer = signer_of(config)
    trust, recipe = read_trust(config.signerd.log_vkey, config.signerd.device_root), read_recipe(config)
    async with SqliteJournal(config.state / FILE_NAME) as journal, signer:
        yield Station(
            signer=signer,
            journal=journal,
            progress=progress,
            clock=SystemClock(),
            trust=trust,
            recipe=recipe,
            bounds=Bounds(config.timeouts.signer_wait_s, config.timeouts.stamp_wait_s),
        )


async def provision_one(config: Config, port: str, work_order: str, progress: Progress) -> Result:
    """Takes the board on one port through the recipe. Told to stop, it parks the board and is cancelled."""
    open_driver = opener(config)
    async with open_station(config, progress) as station:
        task = asyncio.ensure_future(provision(station, port, open_driver(port), work_order))
        with on_stop(task.cancel, task.cancel):
            return await task


async def run_ports(config: Config, ports: Sequence[str], plan: Plan, progress: Progress) -> None:
    """Watches ports and sends the outbox until the plan is fulfilled or a signal comes.

    Raises:
        AgentError: the station itself cannot work: configuration, journal, or a signerd that answers wrongly.
    """
    patterns = tuple(ports) or config.ports
    open_driver = opener(config)
    async with open_station(config, progress) as station:
        watch = PortWatch(station, open_driver, partial(list_ports, patterns, discover=not patterns), plan)
        outbox = OutboxSender(station)
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
