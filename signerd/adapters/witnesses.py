"""Witnesses of the log: each checkpoint is shown to them, and their cosignatures go out with it.

Each witness has a task and a thread of its own, and is shown the newest checkpoint alone: one that is slow or
down holds up nobody, unless so many are demanded that it is needed. Where `required` of them are demanded,
nothing is published before as many have cosigned it.

A witness that says that this tree does not continue the one that it saw, or that it saw a larger one, is an
alarm: the log was forked or put back, or the witness lies. signerd goes on: a stranger's word does not stop a
line, other than a checkpoint that the log's own key signed (`seen_checkpoints`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from signerd.adapters.witness_line import WitnessDown, WitnessLine
from signerd.config import Config
from signerd.core.cosigning import Answer, Verdict, WitnessKey, parse_witness_key, read_answer, request_body
from signerd.core.note import Checkpoint
from signerd.errors import ConfigError, Fault, Unavailable

REQUIRED_S = (
    10.0  # that publishing waits for cosignatures that are demanded, before it says so and tries again
)
PACE_S = 1.0  # between checkpoints that one witness is shown, where none are demanded
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 60.0
_LAST_RETRY_REQUIRED_S = 5.0
_ATTEMPTS = 3  # at one checkpoint: what a witness saw last may be another size than we knew

Proof = Callable[[int, int], Awaitable[list[bytes]]]  # consistency of two sizes

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What a witness is to cosign."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(slots=True)
class WitnessState:
    """How one witness stands, for administrators and metrics."""

    name: str
    url: str
    cosigned: int = 0  # size of the last tree that it cosigned here
    trouble: str = ""  # why it did not cosign the newest; empty: it did, or was not asked yet
    alarm: bool = False  # the trouble is a fork, or a log that was put back


@dataclass(slots=True)
class _Line:
    """A witness, and what is known of it."""

    key: WitnessKey
    line: WitnessLine
    state: WitnessState
    size: int = 0  # of the tree that it saw last
    went_back: bool = False  # said once: it can say another size with each answer
    target: Target | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    retry_s: float = _FIRST_RETRY_S


class Witnesses:
    """All of them. Lives on the event loop; `start` it there."""

    def __init__(self, lines: Sequence[tuple[WitnessKey, str, WitnessLine]], required: int) -> None:
        """`lines`: key, URL and line of each. `required`: how many must cosign what is published."""
        self.required = required
        self._lines = [_Line(key, line, WitnessState(key.name, url)) for key, url, line in lines]
        self._proof: Proof | None = None
        self._got: Callable[[Checkpoint, bytes], None] = lambda _checkpoint, _line: None
        self._found: dict[bytes, bytes] = {}  # by public key: the line over the newest target
        self._target: Target | None = None
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def states(self) -> list[WitnessState]:
        """Of each, as configured."""
        return [line.state for line in self._lines]

    def start(self, proof: Proof, got: Callable[[Checkpoint, bytes], None]) -> None:
        """Begins. `got` is called with each cosignature that comes after its checkpoint was published."""
        self._proof, self._got = proof, got
        self._tasks = [asyncio.create_task(self._serve(line), name="witness") for line in self._lines]

    async def close(self) -> None:
        """Ends. What is under way is cut."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines:
            line.line.close()

    def show(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Shows a checkpoint that is in the second place to all."""
        if self._target is None or self._target.note != note:
            self._found.clear()
        self._target = Target(checkpoint, note)
        for line in self._lines:
            line.target = self._target
            line.wanted.set()

    async def shown(self, checkpoint: Checkpoint, note: bytes) -> bytes:
        """Shows it to all; the note with its cosignatures, once they are as many as are demanded.

        Raises:
            Unavailable: they are not, after some seconds. They are asked for further.
        """
        self.show(checkpoint, note)
        if not self.required:
            return note
        try:
            async with asyncio.timeout(REQUIRED_S), self._changed:
                await self._changed.wait_for(lambda: len(self._found) >= self.required)
        except TimeoutError as error:
            raise Unavailable(self._missing()) from error
        return note + b"".join(self._found.values())

    def _missing(self) -> str:
        said = "; ".join(f"{state.name}: {state.trouble}" for state in self.states if state.trouble)
        there = f"{len(self._found)} of {self.required} witnesses have cosigned the checkpoint"
        return f"{there}: {said or 'no answer'}"

    async def _serve(self, line: _Line) -> None:
        while True:
            await line.wanted.wait()
            line.wanted.clear()
            target = line.target
            if target is None:
                continue
            answer = await self._cosign(line, target)
            if answer.verdict is Verdict.COSIGNED:
                line.retry_s = _FIRST_RETRY_S
                await self._take(line, target, answer.line)
                await asyncio.sleep(0 if self.required else PACE_S)
                continue
            self._note_trouble(line, answer)
            await asyncio.sleep(line.retry_s)
            last_s = _LAST_RETRY_REQUIRED_S if self.required else _LAST_RETRY_S
            line.retry_s = min(2 * line.retry_s, last_s)
            line.wanted.set()

    async def _cosign(self, line: _Line, target: Target) -> Answer:
        """What the witness says of it, asked from the size that it saw last."""
        answer = Answer(Verdict.BUSY, detail="it says another size each time")
        for _ in range(_ATTEMPTS):
            try:
                answer = await self._ask(line, target)
            except WitnessDown as error:
                return Answer(Verdict.BUSY, detail=str(error))
            except Fault as error:  # the proof could not be made: ours
                return Answer(Verdict.BUSY, detail=error.detail)
            if answer.verdict is not Verdict.ELSEWHERE:
                return answer
            if answer.size > target.checkpoint.size:
                detail = f"it saw a tree of {answer.size} entries, and this one has {target.checkpoint.size}"
                return Answer(Verdict.FORKED, detail=detail)
            if answer.size < line.size:
                self._went_back(line, answer.size)
            line.size = answer.size
        return answer

    def _went_back(self, line: _Line, size: int) -> None:
        """What it cosigned before it may cosign otherwise now. Its cosignature counts as before: readers
        choose their witnesses."""
        if line.went_back:
            return
        line.went_back = True
        detail = f"it had cosigned {line.size} entries, and says {size} entries now: its state was put back"
        _log.critical("witness_alarm", witness=line.state.name, url=line.state.url, detail=detail)

    async def _ask(self, line: _Line, target: Target) -> Answer:
        size, proof = target.checkpoint.size, list[bytes]()
        old = min(line.size, size)
        if 0 < old < size and self._proof is not None:
            proof = await self._proof(old, size)
        status, kind, body = await line.line.post(request_body(old, proof, target.note))
        return read_answer(status, kind, body, text=target.checkpoint.body(), key=line.key)

    async def _take(self, line: _Line, target: Target, signature: bytes) -> None:
        line.size = target.checkpoint.size
        state = line.state
        if state.trouble:
            _log.info("witness_cosigns", witness=state.name, size=line.size)
        state.cosigned, state.trouble, state.alarm = line.size, "", False
        if self._target is not None and target.note == self._target.note:
            async with self._changed:
                self._found[line.key.public_key] = signature
                self._changed.notify_all()
        self._got(target.checkpoint, signature)

    def _note_trouble(self, line: _Line, answer: Answer) -> None:
        """Said when it begins or changes, not at each attempt."""
        state, alarm = line.state, answer.verdict is Verdict.FORKED
        detail = answer.detail or answer.verdict.value
        if (state.trouble, state.alarm) == (detail, alarm):
            return
        state.trouble, state.alarm = detail, alarm
        if alarm:
            _log.critical("witness_alarm", witness=state.name, url=state.url, detail=detail)
        else:
            _log.warning("witness_down", witness=state.name, url=state.url, detail=detail)


def open_witnesses(config: Config) -> Witnesses | None:
    """Those of the settings; None: none. Raises ConfigError: a file of a CA is none."""
    lines = []
    for settings in config.witnesses:
        try:
            line = WitnessLine(settings.url, settings.ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"witnesses.ca: {settings.ca} is no PEM of a CA: {error}") from error
        lines.append((parse_witness_key(settings.vkey), settings.url, line))
    return Witnesses(lines, config.publication.witnesses_required) if lines else None
