"""Ports of a needle bed in memory, and the watch over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from agent.adapters.line.watch import Plan, PortWatch
from agent.adapters.shown.tally import Tally
from agent.core.result import Result
from agent.errors import AgentError
from agent.ports import Driver, PortInfo
from harness.agent_world import ORDER, AgentWorld, MemoryDriver, opened


class Socket(MemoryDriver):
    """A port on the needle bed. `on_look` is called at each hello, with their number."""

    def __init__(self, driver: MemoryDriver) -> None:
        super().__init__(driver.board)
        self.looks = 0
        self.on_look: Callable[[int], None] = lambda _looks: None

    async def _enter(self, call: str) -> None:
        if call in {"identify", "present"} and "verify" not in self.calls[-1:]:
            self.looks += 1
            self.on_look(self.looks)
        await super()._enter(call)


class Bench:
    """Ports, and a watch over them."""

    def __init__(self, *boards: str, plan: Plan | None = None) -> None:
        self.world = AgentWorld()
        self.tally = Tally(self.world.progress)
        self.station = type(self.world.station)(
            signer=self.world.company,
            journal=self.world.journal,
            progress=self.tally,
            clock=self.world.clock,
            trust=self.world.station.trust,
            recipe=self.world.station.recipe,
            bounds=self.world.station.bounds,
        )
        self.sockets = {f"port-{n}": Socket(self.world.board(chip)) for n, chip in enumerate(boards)}
        self.present = list(self.sockets)
        self.open_errors: dict[str, list[AgentError]] = {}
        self.opened = 0
        self.watch = PortWatch(
            self.station, self._open, self._list, plan or Plan(ORDER, boards=len(boards), look_s=0.001)
        )

    def _open(self, device: str) -> AbstractAsyncContextManager[Driver]:
        if self.open_errors.get(device):
            raise self.open_errors[device].pop(0)
        self.opened += 1
        return opened(self.sockets[device])

    def _list(self) -> tuple[PortInfo, ...]:
        return tuple(PortInfo(name, name, "") for name in self.present)

    async def run(self) -> list[Result]:
        async with asyncio.timeout(20):
            await self.watch.run()
        return self.world.progress.results

    def stop(self) -> None:
        self.watch.stopping.set()
