"""A station's world in memory: boards, journal, progress and a clock, behind the agent's own ports.

world = AgentWorld()
result = await world.provision(world.board("CHIP-1"))
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import astuple, dataclass, field
from hashlib import sha256

import cbor2

from agent.core.bundle import Bundle
from agent.core.events import Event, Finished, Progress, StampSettled
from agent.core.label import Label
from agent.core.pop import ProofOfPossession
from agent.core.recipe import Recipe, StepName, default_recipe
from agent.core.result import Outcome, Result
from agent.errors import AgentError, BoardError
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    FirmwareComponent,
    FirmwareDemands,
    Flashed,
    Found,
    KeyState,
    OnProgress,
    QueuedStamp,
    Receipt,
)
from agent.provision import provision
from agent.station import StationContext
from agent.steps import Bounds
from boards import keys
from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.port import Attester
from boards.faults import Fault, Faults
from boards.simulated_board import BoardModel, BoardProtocolError, SimulatedBoard
from harness.paper_company import PaperCompany

ORDER = "WO-1"
SMP_STEPS = frozenset(StepName) - {StepName.FLASH, StepName.FIRST_BOOT, StepName.LABEL}


class HandClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        await asyncio.sleep(0)


class Gate:
    """Holds a call up: `arrived` tells that it is there, `open` lets it go on."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()


class MemoryDriver:
    """See `agent.ports.Driver`: a simulated board without a line. `before` makes the next calls fail."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.before: dict[str, list[Exception]] = defaultdict(list)
        self.calls: list[str] = []
        self.gates: dict[str, Gate] = {}  # calls of this name are held up

    async def present(self) -> str | None:
        await self._enter("present")
        return self.board.model.chip_id

    async def identify(self) -> Found:
        await self._enter("identify")
        return Found(self.board.model.chip_id, self._hello())

    async def flash(self, demanded: FirmwareDemands, on_progress: OnProgress | None = None) -> Flashed:  # noqa: ARG002
        raise BoardError("no_step", "flash")

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:  # noqa: ARG002
        raise BoardError("no_step", "first-boot")

    async def locks(self) -> Mapping[str, bool]:
        await self._enter("locks")
        return {}

    async def pop(self) -> ProofOfPossession:
        await self._enter("pop")
        answer = self._handle("pop", {}, write=False)
        code, salt = answer["pop"], answer["salt"]
        assert isinstance(code, str)
        assert isinstance(salt, bytes)
        return ProofOfPossession(code, salt)

    def _hello(self) -> BoardIdentity:
        hello: Mapping[str, object] = self.board.handle(write=False, command="hello", body={})
        credential, settings = self.board.storage.get("credential"), self.board.storage.get("config")
        return BoardIdentity(
            model=self.board.model.model,
            chip_id=self.board.model.chip_id,
            firmware={
                name: FirmwareComponent(version, digest)
                for name, (version, digest) in self.board.model.firmware.items()
            },
            security_state=self.board.security_state,
            methods=tuple(self.board.model.methods),
            key_types=self.board.model.key_types,
            key_state=KeyState(str(hello["key"])),
            credential_sha256=None if credential is None else sha256(credential).digest(),
            settings_sha256=None if settings is None else sha256(settings).digest(),
            sealed=self.board.sealed,
            buffer=self.board.model.buffer,
        )

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        await self._enter("keygen")
        self._handle("keygen", {"type": key_type})
        if on_progress is not None:
            on_progress(100, 100)

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        await self._enter("request")
        return BoardRequest(*cbor2.loads(self.board.make_request(challenge, methods or None)))

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        await self._enter("install")
        return self._store("credential", content, on_progress)

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        await self._enter("configure")
        return self._store("config", content, on_progress)

    async def seal(self, on_progress: OnProgress | None = None) -> None:  # noqa: ARG002
        await self._enter("seal")
        self._handle("seal", {})

    async def stamp(self, challenge: bytes) -> BoardStamp:
        await self._enter("stamp")
        return BoardStamp(*cbor2.loads(self.board.make_stamp(challenge)))

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.before[call]:
            raise self.before[call].pop(0)
        if call in self.gates:
            self.gates[call].arrived.set()
            await self.gates[call].open.wait()

    def _store(self, command: str, content: bytes, on_progress: OnProgress | None) -> bytes:
        digest = sha256(content).digest()
        self._handle(command, {"off": 0, "data": content, "len": len(content), "sha": digest})
        if on_progress is not None:
            on_progress(len(content), len(content))
        return digest

    def _handle(
        self, command: str, body: Mapping[str, object], *, write: bool = True
    ) -> Mapping[str, object]:
        try:
            return self.board.handle(write=write, command=command, body=body)
        except BoardProtocolError as error:
            raise BoardError(f"rc_{error.rc}", command) from error


@dataclass
class _Run:
    port: str
    work_order: str
    chip_id: str
    steps: dict[str, float] = field(default_factory=dict)
    result: Result | None = None
    outcome: Outcome | None = None


class MemoryJournal:
    """See `agent.ports.Journal`."""

    def __init__(self) -> None:
        self.runs: dict[int, _Run] = {}
        self.queue: list[tuple[int, QueuedStamp]] = []
        self.recorded: list[tuple[QueuedStamp, Receipt]] = []
        self.refused: list[tuple[QueuedStamp, str, str]] = []
        self.labels: dict[bytes, int] = {}
        self.before: dict[str, list[AgentError]] = defaultdict(list)

    async def begin(self, port: str, work_order: str, chip_id: str) -> int:
        self._enter("begin")
        self.runs[len(self.runs) + 1] = _Run(port, work_order, chip_id)
        return len(self.runs)

    def step_done(self, run: int, step: str, seconds: float) -> None:
        self.runs[run].steps[step] = seconds

    async def note_label(self, run: int, certificate_sha256: bytes) -> None:
        self._enter("note_label")
        self.labels[certificate_sha256] = run

    async def has_label(self, certificate_sha256: bytes) -> bool:
        self._enter("has_label")
        return certificate_sha256 in self.labels

    async def last_on(self, port: str) -> tuple[str, str] | None:
        ended = [run for run in self.runs.values() if run.port == port and run.chip_id and run.outcome]
        return (ended[-1].chip_id, str(ended[-1].outcome)) if ended else None

    async def finish(self, run: int, result: Result) -> None:
        self._enter("finish")
        self.runs[run].result = result
        self.runs[run].outcome = result.outcome

    async def queue_stamp(self, run: int, queued: QueuedStamp) -> None:
        self._enter("queue_stamp")
        if all(queued != waiting for _, waiting in self.queue):
            self.queue.append((run, queued))

    async def queued_stamps(self) -> tuple[QueuedStamp, ...]:
        return tuple(queued for _, queued in self.queue)

    async def stamp_recorded(self, queued: QueuedStamp, receipt: Receipt) -> None:
        self._enter("stamp_recorded")
        self._settle(queued, Outcome.PASS)
        self.recorded.append((queued, receipt))

    async def stamp_refused(self, queued: QueuedStamp, code: str, remedy: str) -> None:
        self._enter("stamp_refused")
        self._settle(queued, Outcome.FAIL)
        self.refused.append((queued, code, remedy))

    def _settle(self, queued: QueuedStamp, outcome: Outcome) -> None:
        for run, waiting in self.queue:
            result = self.runs[run].result
            if waiting == queued and result and (result.outcome is Outcome.PARKED or result.step == "record"):
                self.runs[run].outcome = outcome
        self.queue = [(run, waiting) for run, waiting in self.queue if waiting != queued]

    def _enter(self, call: str) -> None:
        if self.before[call]:
            raise self.before[call].pop(0)


class MemoryLabels:
    """See `agent.ports.Labels`."""

    def __init__(self) -> None:
        self.printed: list[Label] = []
        self.before: list[Exception] = []

    async def put(self, label: Label) -> None:
        if self.before:
            raise self.before.pop(0)
        self.printed.append(label)


class RecordedProgress:
    """A `Progress` that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.results: list[Result] = []
        self.also: Progress | None = None  # is told too

    def __call__(self, event: Event) -> None:
        match event:
            case Finished(result):
                self.events.append(("board_finished", result.port, result.outcome))
                self.results.append(result)
            case StampSettled():
                self.events.append(("stamp_settled", event.chip_id, event.code))
            case _:
                name = re.sub("(?<=.)([A-Z])", r"_\1", type(event).__name__).lower()
                self.events.append((name, *map(str, astuple(event))))
        if self.also is not None:
            self.also(event)

    def named(self, name: str) -> list[tuple[str, ...]]:
        return [event for event in self.events if event[0] == name]


class AgentWorld:
    """A station with all that is around it."""

    def __init__(
        self,
        *,
        recipe: Recipe | None = None,
        company: PaperCompany | None = None,
        bundle: Bundle | None = None,
        board_retries: int = 0,
    ) -> None:
        self.company = company or PaperCompany()
        self.labels = MemoryLabels()
        self.journal = MemoryJournal()
        self.progress = RecordedProgress()
        self.clock = HandClock()
        self.station = StationContext(
            signer=self.company,
            journal=self.journal,
            progress=self.progress,
            clock=self.clock,
            trust=self.company.trust,
            recipe=recipe or default_recipe(SMP_STEPS),
            bounds=Bounds(signer_wait_s=30.0, stamp_wait_s=5.0),
            bundle=bundle,
            labels=self.labels,
            board_retries=board_retries,
        )

    @staticmethod
    def board(
        chip_id: str = "CHIP-1",
        *faults: Fault,
        key_types: tuple[str, ...] = keys.KEY_TYPES[:1],
        attesters: tuple[Attester, ...] = (HmacAttester(bytes(32)),),
        pop: bool = False,
    ) -> MemoryDriver:
        model = BoardModel(chip_id, attesters=attesters, key_types=key_types, pop=pop)
        return MemoryDriver(SimulatedBoard(model, faults=Faults(faults)))

    async def provision(self, driver: MemoryDriver, *, port: str = "port-1") -> Result:
        return await provision(self.station, port, opened(driver), ORDER)


def opened(driver: MemoryDriver) -> AbstractAsyncContextManager[MemoryDriver]:
    """The driver as an open port."""

    @asynccontextmanager
    async def context() -> AsyncIterator[MemoryDriver]:
        yield driver

    return context()
