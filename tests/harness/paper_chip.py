"""A chip that comes empty and locks itself at its first boot, behind the agent's own port, without a line.

    world = AgentWorld(recipe=default_recipe(list(StepName)), bundle=BUNDLE)
    result = await world.provision(paper_chip("7c:df:a1:00:00:01"))

Where no firmware runs, only what the ROM can do is answered; the application has no commands that change it.
`silicon` is what the eFuses say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from agent.core.bundle import Bundle, Image, Manifest, Role
from agent.core.pop import ProofOfPossession
from agent.core.recipe import Recipe, StepName, default_recipe
from agent.errors import BoardError, LineError
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    FirmwareComponent,
    FirmwareDemands,
    Flashed,
    Found,
    OnProgress,
)
from boards import keys
from boards.attesters.hmac_sha256 import HmacAttester
from boards.simulated_board import BoardModel, SimulatedBoard
from harness.agent_world import MemoryDriver

CHIP = "7c:df:a1:00:00:01"


def bundle(*, digest: bytes = bytes(32), app: str = "1.4.0") -> Bundle:
    """A bundle of one image, as if it had been verified."""
    image = Image("application", Role.APPLICATION, 0x110000, 4096, bytes(32), "app", app, bytes(32))
    return Bundle(Manifest("sensor", app, "esp32", 1 << 22, (image,), {}, None, ()), digest)


def whole_recipe(*, challenge: bool = True, order: Sequence[StepName] = tuple(StepName)) -> Recipe:
    """These steps, in this order."""
    usual = {step.name: step for step in default_recipe(list(StepName)).steps}
    return Recipe("whole", tuple(usual[name] for name in order), challenge=challenge)


class Stage(StrEnum):
    """How far a chip is."""

    EMPTY = "empty"
    MANUFACTURING = "manufacturing"
    CLOSING = "closing"  # sealed by the station, not booted yet: no firmware of ours runs
    LOCKED = "locked"


class ChipDriver(MemoryDriver):
    """See `agent.ports.Driver`."""

    def __init__(self, board: SimulatedBoard, stage: Stage = Stage.EMPTY) -> None:
        super().__init__(board)
        self.stage = stage
        self.silicon: dict[str, bool] = {}
        self.demanded: list[FirmwareDemands] = []

    @property
    def runs(self) -> bool:
        """True if firmware of ours answers."""
        return self.stage in {Stage.MANUFACTURING, Stage.LOCKED}

    async def identify(self) -> Found:
        await self._enter("identify")
        return Found(self.board.model.chip_id, self._hello() if self.runs else None, "ESP32 on paper")

    def _hello(self) -> BoardIdentity:
        hello = super()._hello()
        if self.stage is not Stage.MANUFACTURING:
            return hello
        itself = {"manufacturing": FirmwareComponent("1.0.0", bytes(32))}
        return replace(hello, firmware={**hello.firmware, **itself})

    async def flash(self, demanded: FirmwareDemands, on_progress: OnProgress | None = None) -> Flashed:
        await self._enter("flash")
        self.demanded.append(demanded)
        if on_progress is not None:
            on_progress(4096, 4096)
        if self.runs:
            return Flashed((), ("application",))
        self.stage = Stage.MANUFACTURING
        return Flashed(("application",), ())

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        self._require_firmware(Stage.MANUFACTURING)
        await super().keygen(key_type, on_progress)

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        self._require_firmware()
        return await super().request(challenge, methods)

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        self._require_firmware(Stage.MANUFACTURING)
        return await super().install(content, on_progress)

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        self._require_firmware(Stage.MANUFACTURING)
        return await super().configure(content, on_progress)

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        await self._enter("seal")
        if self.stage is not Stage.LOCKED:
            self.stage = Stage.CLOSING
        if on_progress is not None:
            on_progress(100, 100)

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:
        await self._enter("first_boot")
        assert self.stage in {Stage.CLOSING, Stage.LOCKED}, "a first boot of a chip that was not sealed"
        self._handle("seal", {})
        self.stage = Stage.LOCKED
        if on_progress is not None:
            on_progress(100, 100)

    async def locks(self) -> Mapping[str, bool]:
        await self._enter("locks")
        return self.silicon

    async def pop(self) -> ProofOfPossession:
        self._require_firmware()
        return await super().pop()

    async def stamp(self, challenge: bytes) -> BoardStamp:
        self._require_firmware()
        return await super().stamp(challenge)

    def _require_firmware(self, *answering: Stage) -> None:
        if not self.runs:
            raise LineError("no_answer", f"no firmware runs: {self.stage}")
        if answering and self.stage not in answering:
            raise BoardError("bad_request", f"the firmware of stage {self.stage} has no such command")


def paper_chip(chip_id: str = CHIP, *, pop: bool = True, stage: Stage = Stage.EMPTY) -> ChipDriver:
    """A chip on the needle bed."""
    model = BoardModel(
        chip_id,
        attesters=(HmacAttester(bytes(32)),),
        key_types=keys.KEY_TYPES[:1],
        firmware={"app": ("1.4.0", bytes(32))},
        pop=pop,
    )
    return ChipDriver(SimulatedBoard(model), stage)
