"""Takes a recorded run once more, at a desk: the same code decides, the recording answers.

    replayed = await replay(read_recording(data))
    replayed.same

No board, no signerd and no station is needed. Answers come in the order in which they were recorded, so that
two steps at once end as they did. Time is the recording's. What a later agent decides otherwise shows as
another verdict, or as a call that the recording has no answer to.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

from cryptography import x509

from agent.core.bundle import Bundle, BundleError
from agent.core.bundle_manifest import parse_manifest
from agent.core.certificate import Trust
from agent.core.events import Event, Finished
from agent.core.pop import ProofOfPossession
from agent.core.result import Result
from agent.errors import AgentError, SignerBusy, StoppedError
from agent.ports import Driver, Journal, Labels, Signer
from agent.provision import work
from agent.recording import (
    ANSWERS,
    BOARD,
    CHANCE,
    FORM,
    JOURNAL,
    MAX_BYTES,
    MAX_LINES,
    PRINTER,
    SIGNERD,
    Basis,
    Call,
    Failure,
    Happened,
    loaded,
)
from agent.station import StationContext

_SPINS = 200  # turns of the loop in which nothing moves: the call whose turn it is does not come any more
_LONG_S = 1e6
_Line = Basis | Call | Happened | Result
_KINDS: Mapping[str, type[_Line]] = {"basis": Basis, "call": Call, "happened": Happened, "result": Result}


class RecordingError(ValueError):
    """The bytes are no recording that this agent reads; the text says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded run."""

    basis: Basis
    lines: tuple[Call | Happened, ...]  # in the order in which they ended
    result: Result


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it this time."""

    result: Result
    differences: tuple[str, ...]  # in words; empty: the same verdict, over the same calls

    @property
    def same(self) -> bool:
        """True if the run ended as it was recorded."""
        return not self.differences


def read_recording(data: bytes) -> Recording:
    """Reads `agent.recording.Tape.encode`'s bytes. Raises RecordingError, whatever they are."""
    if len(data) > MAX_BYTES:
        raise RecordingError(f"it is larger than {MAX_BYTES} bytes")
    try:
        return _read(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise RecordingError("it is no recording: not JSON, line by line") from error


def _read(data: bytes) -> Recording:
    texts = data.decode("utf-8-sig").splitlines()
    if len(texts) > MAX_LINES + 2:  # and basis and result
        raise RecordingError(f"it has more than {MAX_LINES} lines")
    lines = [_line(number, text) for number, text in enumerate(texts, 1)]
    match lines:
        case [Basis() as basis, *middle, Result() as result]:
            way = tuple(_happened(number, line) for number, line in enumerate(middle, 2))
            return Recording(basis, way, result)
        case [Basis(), *_]:
            raise RecordingError("it was cut: its last line is not the run's result")
    raise RecordingError("it is no recording: its first line is not the basis of a run")


def _line(number: int, text: str) -> _Line:
    try:
        members = json.loads(text)
    except ValueError as error:
        raise RecordingError(f"line {number} is no JSON, or was cut") from error
    if not isinstance(members, dict) or members.keys().isdisjoint(_KINDS):
        raise RecordingError(f"line {number} is none of a recording")
    match members:
        case {"basis": {"form": int(form)}} if form != FORM:
            raise RecordingError("it is of another form than this agent reads: take the agent that wrote it")
    name = next(name for name in _KINDS if name in members)
    try:
        return cast("_Line", loaded(_KINDS[name], members[name]))
    except ValueError as error:
        raise RecordingError(f"line {number}: {error}") from error


def _happened(number: int, line: _Line) -> Call | Happened:
    if isinstance(line, Happened):
        return line
    if isinstance(line, Call):
        if line.call in ANSWERS.get(line.of, {}):
            return line
        what = f"{line.of[:20]}.{line.call[:20]}"
        raise RecordingError(f"line {number} has a call that this agent does not know: {what}")
    raise RecordingError(f"line {number} does not belong where it stands")


async def replay(recording: Recording) -> Replayed:
    """Takes the run once more. Raises RecordingError where its basis cannot be used."""
    tape = _Tape(recording)
    try:
        station = _station(recording.basis, tape)
    except (ValueError, BundleError) as error:
        raise RecordingError(f"its basis cannot be used: {error}") from error
    driver = cast("Driver", _Answering(tape, BOARD))
    basis = recording.basis
    task = asyncio.ensure_future(work(station, basis.port, driver, basis.found, basis.work_order, 0.0))
    tape.stop = task.cancel
    await asyncio.gather(task, return_exceptions=True)
    if tape.result is None:
        raise RecordingError("the run did not end; its basis is not that of its calls")
    return Replayed(tape.result, tuple(_differences(recording.result, tape)))


def _differences(then: Result, tape: _Tape) -> list[str]:
    found = list(tape.differences)
    if tape.result is None:
        return found
    was_all, now_all = asdict(then), asdict(tape.result)
    for name in ("outcome", "step", "code", "detail", "remedy", "serial_number", "stop", "again"):
        was, is_now = was_all[name], now_all[name]
        if was != is_now:
            found.append(f"{name}: {was!s} when it was recorded, {is_now!s} now")
    return found


def _station(basis: Basis, tape: _Tape) -> StationContext:
    bundle = None
    if basis.manifest is not None:
        digest = hashlib.sha256(basis.manifest).digest()
        bundle = Bundle(parse_manifest(basis.manifest), digest)
    return StationContext(
        signer=cast("Signer", _Answering(tape, SIGNERD)),
        journal=cast("Journal", _Answering(tape, JOURNAL)),
        progress=tape.tell,
        clock=tape,
        trust=Trust(tuple(map(x509.load_der_x509_certificate, basis.device_roots_der)), basis.log_key),
        recipe=basis.recipe,
        bounds=basis.bounds,
        bundle=bundle,
        labels=cast("Labels", _Answering(tape, PRINTER)) if basis.labels else None,
        board_retries=basis.board_retries,
        busy_chips={basis.found.chip_id} if basis.chip_busy else set(),
        demands={} if basis.key_demands is None else {basis.work_order: basis.key_demands},
        random_bytes=tape.random_bytes,
    )


class _Tape:
    """The recorded answers, each to its call and in its turn; and a clock that stands where they stand."""

    def __init__(self, recording: Recording) -> None:
        self._calls = [line for line in recording.lines if isinstance(line, Call)]
        self._waits = [index for index, call in enumerate(self._calls) if call.of != CHANCE]
        self._taken: set[int] = set()
        self._stopped = recording.result.code == StoppedError().code
        self._now_s = 0.0
        self.stop: Callable[[], object] = lambda: None
        self.differences: list[str] = []
        self.result: Result | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.result = event.result

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        end_s = self._now_s + seconds
        await asyncio.sleep(0)
        self._now_s = max(self._now_s, end_s)

    def random_bytes(self, count: int) -> bytes:
        index = self._next(CHANCE, "bytes")
        if index is None:
            self.differences.append("a challenge was made once more than when it was recorded")
            return bytes(count)
        self._taken.add(index)
        return cast("bytes", loaded(bytes, self._calls[index].answer))

    async def answer(self, of: str, name: str) -> Any:
        """The recorded answer to this call, when its turn has come; or what it raised."""
        index = self._next(of, name)
        if index is None:
            return await self._unanswered(of, name)
        self._taken.add(index)
        call = self._calls[index]
        self._now_s = max(self._now_s, call.asked_s)
        await self._turn(index)
        self._now_s = max(self._now_s, call.ended_s)
        if call.cancelled:
            return await self._cancelled()
        if call.failure is not None:
            raise _raised(call.failure)
        kind = ANSWERS[of][name]
        if name == "pop":
            return WithheldCode(loaded(bytes, call.answer))
        return None if kind is None else loaded(kind, call.answer)

    async def _turn(self, index: int) -> None:
        """Waits until all that ended before has ended. What never comes is stepped over, and said."""
        spins = 0
        while self._waits and self._waits[0] < index:
            taken = len(self._taken)
            await asyncio.sleep(0)
            spins = spins + 1 if len(self._taken) == taken else 0
            if spins > _SPINS and self._waits[0] not in self._taken:
                missed = self._calls[self._waits.pop(0)]
                self.differences.append(f"{missed.of}.{missed.call} is not asked any more")
                spins = 0
        if index in self._waits:
            self._waits.remove(index)

    async def _cancelled(self) -> None:
        """A step's time ran out over this call; or the other step that ran failed; or the station stopped."""
        if self._stopped and not self._waits:
            self.stop()
        for _ in range(_SPINS if not self._stopped else 1):
            await asyncio.sleep(0)  # who cancels does it now
        raise TimeoutError

    async def _unanswered(self, of: str, name: str) -> Any:
        """Asked once more than was recorded: the station stopped there, or a deadline was a hair away."""
        last = next((call for call in reversed(self._calls) if (call.of, call.call) == (of, name)), None)
        if last is not None and last.failure is not None and of == SIGNERD:
            self._now_s += _LONG_S
            raise _raised(last.failure)
        if not self._stopped:
            self.differences.append(f"{of}.{name} is asked once more than when it was recorded")
        self.stop()
        await asyncio.sleep(0)
        raise StoppedError

    def _next(self, of: str, name: str) -> int | None:
        for index, call in enumerate(self._calls):
            if index not in self._taken and (call.of, call.call) == (of, name):
                return index
        return None


class _Answering:
    """Stands in for a port of `agent.ports`."""

    def __init__(self, tape: _Tape, of: str) -> None:
        self._tape = tape
        self._of = of

    def __getattr__(self, name: str) -> Any:
        if name in ANSWERS[self._of]:
            return partial(self._answer, name)
        if self._of == JOURNAL and name == "step_done":
            return lambda *_args: None
        if self._of == JOURNAL and name == "finish":
            return _finish
        raise AttributeError(name)

    async def _answer(self, name: str, *_args: Any, **_named: Any) -> Any:
        return await self._tape.answer(self._of, name)


async def _finish(*_args: Any) -> None:
    return


class WithheldCode(ProofOfPossession):
    """A code whose commitment alone was recorded."""

    def __init__(self, commitment: bytes) -> None:
        object.__setattr__(self, "code", "")
        object.__setattr__(self, "salt", b"")
        object.__setattr__(self, "_commitment", commitment)

    @property
    def commitment(self) -> bytes:
        """As it was recorded, 32 bytes."""
        return cast("bytes", self.__dict__["_commitment"])


def _raised(failure: Failure) -> Exception:
    if failure.verdict is None:
        # What a driver of others raised: its name is all that its verdict shows.
        return cast("Exception", type(failure.kind, (Exception,), {})())
    kind = _classes(AgentError).get(failure.kind, AgentError)
    error: AgentError = kind.__new__(kind)
    AgentError.__init__(error, failure.code, failure.detail, verdict=failure.verdict, remedy=failure.remedy)
    if isinstance(error, SignerBusy):
        error.delay_s = failure.delay_s or 0.0
    return error


def _classes(root: type[AgentError]) -> dict[str, type[AgentError]]:
    """By its name, the class and all that are made of it."""
    found = {root.__name__: root}
    for kind in root.__subclasses__():
        found |= _classes(kind)
    return found
