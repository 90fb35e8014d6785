"""Takes results out of the journal as they come, to files and to the command, beside the boards.

`ResultsDesk` is a `Progress` that only wakes up: what it hands on is what the journal holds. Neither a slow
disk nor a slow command holds a port up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from agent.adapters.results.command import ResultCommand
from agent.adapters.results.files import Exporter
from agent.adapters.results.place import check_results
from agent.config import Config
from agent.core.events import Event, Finished, StampSettled
from agent.core.result_row import ResultRow
from agent.errors import AgentError, NotedError

_AGAIN_S = 30.0  # after a failure, and when nothing came


class ResultsDesk:
    """A `Progress`. Use it as an asynchronous context manager.

    Raises, on entering:
        ConfigError: the folder takes no files.
        ResultsError: what an earlier run left out cannot be written.
    """

    def __init__(self, config: Config, notice: Callable[[str], None]) -> None:
        self._wanted = config.results
        self._exporter = Exporter(config.state, config.results.folder)
        self._notice = notice
        self._command: ResultCommand | None = None
        self._wake = asyncio.Event()
        self._whole = True  # of the next export
        self._failing = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        folder = self._wanted.folder
        if folder is None and not self._wanted.command:
            return self
        with suppress(NotedError):  # said at the first result
            check_results(self._wanted)
        if self._wanted.command:
            self._command = ResultCommand(self._wanted.command, self._wanted.command_timeout_s, self._notice)
        await self._export()
        self._task = asyncio.create_task(self._run(), name="results")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._try()
        if self._command is not None:
            await self._command.drain()

    def __call__(self, event: Event) -> None:
        """See `Progress`. The journal has what there is to hand on."""
        if isinstance(event, StampSettled):
            self._whole = True  # the run may be an old one
        if isinstance(event, Finished | StampSettled):
            self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                if not self._failing:
                    continue
            self._wake.clear()
            await self._try()

    async def _try(self) -> None:
        try:
            await self._export()
        except AgentError as error:
            if error.detail != self._failing:
                self._notice(f"{error.code}: {error.detail}. {error.remedy}")
            self._failing = error.detail

    async def _export(self) -> None:
        whole, self._whole = self._whole, False
        work = asyncio.ensure_future(asyncio.to_thread(self._exporter.export, whole=whole))
        try:
            rows = await asyncio.shield(work)
        except AgentError:
            self._whole = True
            raise
        except asyncio.CancelledError:
            # The thread goes on: its rows are exported, and handed on before the station ends. If it fails,
            # the last try says so: nothing may take the place of the cancellation.
            try:
                self._hand_on(await work)
            except AgentError:
                self._whole = True
            raise
        self._failing = ""
        self._hand_on(rows)

    def _hand_on(self, rows: list[ResultRow]) -> None:
        if self._command is not None:
            for row in rows:
                self._command.submit(row)
