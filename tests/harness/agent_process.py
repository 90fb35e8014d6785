"""The real agent as a process, enrolled at a signerd on paper, with boards on ptys in this process.

async with AgentBench(directory) as bench:
    board = bench.board("CHIP-1")
    agent = await bench.start("run", "--order", "WO-1", "--port", board.port, "--count", "1")
    await agent.event("board_done")
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.enrolment import enroll
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from harness.paper_company import PaperCompany
from harness.paper_signer import PaperSigner

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Agent:
    """A running `birthmark-agent` whose events are read as they come."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def event(self, name: str, **members: object) -> dict[str, Any]:
        """Returns when the agent has told of such an event."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                if event["event"] == name and members.items() <= event.items():
                    return event
        raise AssertionError(f"the agent ended without {name}: {self.events}")

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait()

    async def end(self) -> Ended:
        """Waits for its end."""
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await self.process.communicate()
        code = self.process.returncode
        assert code is not None
        self.events += [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        return Ended(code, out.decode(), err.decode())


class AgentBench:
    """One station."""

    def __init__(self, directory: Path, company: PaperCompany | None = None) -> None:
        self.directory = directory
        self.station = directory / "station"
        self.signerd = PaperSigner(company or PaperCompany())
        self.within: tuple[str, ...] = ()  # a command that runs commands, in a world of its own
        self._stack = AsyncExitStack()

    @property
    def config(self) -> Path:
        return self.station / "agent.toml"

    async def command(self, *arguments: str | Path) -> Ended:
        """Runs a command to its end."""
        return await (await self._spawn(*arguments)).end()

    async def start(self, *arguments: str | Path) -> Agent:
        """Starts a command with the station's configuration."""
        return await self._spawn(*arguments, "-c", self.config)

    async def _spawn(self, *arguments: str | Path) -> Agent:
        process = await asyncio.create_subprocess_exec(
            *self.within, sys.executable, "-m", "agent", *map(str, arguments), stdout=PIPE, stderr=PIPE
        )
        self._stack.push_async_callback(_ended, process)
        return Agent(process)

    def board(self, chip_id: str, *, keygen_s: float = 0.0, pop: bool = False) -> PtyBoard:
        """Plugs a board in."""
        model = BoardModel(chip_id, bytes(32), key_types=("p256",), keygen_s=keygen_s, pop=pop)
        pty = PtyBoard(SimulatedBoard(model))
        pty.start()
        self._stack.push_async_callback(pty.stop)
        return pty

    def given(self, **certificate: Any) -> list[str]:
        """What the administrator sends back, as arguments of `enroll --install`."""
        files = self._files(**certificate)
        named = [part for name, path in files.items() for part in (f"--{name}", str(path))]
        return ["--signerd", self.signerd.address, *named]

    def _files(self, **certificate: Any) -> dict[str, Path]:
        request = (self.station / "station.csr.pem").read_bytes()
        root = self.signerd.company.tree.root.public_bytes(Encoding.PEM)
        files = {
            "install": self.signerd.issue_station(request, **certificate),
            "operations-ca": self.signerd.operations.pem,
            "log-vkey": self.signerd.company.log.vkey.encode() + b"\n",
            "device-root": root,
        }
        paths = {name: self.directory / f"given-{name}" for name in files}
        for name, path in paths.items():
            path.write_bytes(files[name])
        return paths

    async def request(self) -> Ended:
        """`enroll` without a certificate."""
        who = ("--deployment", "paper", "--site", "plant1", "--name", "pc1")
        return await self.command("enroll", "--dir", self.station, *who)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.signerd)
        enroll.request(self.station, deployment="paper", site="plant1", name="pc1")
        given = self._files()
        certificate, ca = given["install"], given["operations-ca"]
        vkey, root = given["log-vkey"], given["device-root"]
        enroll.install(self.station, enroll.Given(certificate, ca, vkey, root, self.signerd.address))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


async def _ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
