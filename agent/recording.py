"""Records one board's run: what decides it, what was asked and answered, and what happened.

    tape = Tape(basis)
    station, driver = recorded(station, driver, tape)    # and the run goes on as it would without
    data = tape.encode(result)

A recording is JSON lines, at most `MAX_BYTES`: the basis, then calls and events in the order in which they
ended, then the result. `agent.replay` takes the same decisions from it once more. It holds no key, and of the
proof-of-possession code the commitment alone. It holds the board's settings, certificate and evidence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from types import GenericAlias
from typing import Any, Final, cast

from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.core.bundle_manifest import encode_manifest
from agent.core.events import Event
from agent.core.note import LogKey
from agent.core.pop import ProofOfPossession
from agent.core.recipe import Recipe
from agent.core.result import Result
from agent.errors import AgentError, SignerBusy, Verdict
from agent.ports import (
    BoardRequest,
    BoardStamp,
    Driver,
    Flashed,
    Found,
    Issued,
    Journal,
    Labels,
    QueuedStamp,
    Receipt,
    Session,
    Signer,
)
from agent.station import KeyDemands, StationContext
from agent.steps import Bounds

FORM: Final = 1
MAX_BYTES = 1 << 20  # a board with evidence takes 20 kB
MAX_LINES = 5_000

BOARD, SIGNERD, JOURNAL, PRINTER, CHANCE = "board", "signerd", "journal", "printer", "chance"
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    BOARD: {
        "identify": Found,
        "flash": Flashed,
        "keygen": None,
        "request": BoardRequest,
        "install": bytes,
        "configure": bytes,
        "seal": None,
        "first_boot": None,
        "locks": dict[str, bool],
        "pop": bytes,  # the commitment
        "stamp": BoardStamp,
    },
    SIGNERD: {"open_session": Session, "sign_csr": Issued, "record_stamp": Receipt},
    JOURNAL: {
        "begin": int,
        "note_label": None,
        "has_label": bool,
        "queue_stamp": None,
        "queued_stamps": tuple[QueuedStamp, ...],  # those of this chip
        "stamp_recorded": None,
        "stamp_refused": None,
    },
    PRINTER: {"put": None},
    CHANCE: {"bytes": bytes},
}
"""What is recorded of whom, and of which type the answer is."""

_BYTES = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class Basis:
    """What decides a run beside what is answered in it."""

    version: str  # of the agent that recorded
    started_at: str  # UTC, ISO 8601
    port: str
    work_order: str
    found: Found
    recipe: Recipe
    device_roots_der: tuple[bytes, ...]
    log_key: LogKey
    bounds: Bounds
    board_retries: int
    labels: bool  # there is somewhere to put them
    key_demands: KeyDemands | None  # of the order, as signerd last said
    chip_busy: bool  # another port had the same chip
    manifest: bytes | None  # of the station's bundle
    bundle_sha256: bytes | None
    form: int = FORM


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call raised."""

    kind: str  # the name of its class
    code: str = ""
    detail: str = ""
    verdict: Verdict | None = None  # None: no error of ours
    remedy: str = ""
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A question and its answer. Times are seconds since the run began."""

    asked_s: float
    ended_s: float
    of: str
    call: str
    answer: Any = None  # as JSON has it; `answer_of` reads it
    failure: Failure | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, by the name of its class."""

    at_s: float
    event: str
    members: dict[str, Any]


def dumped(kind: Any, value: Any) -> Any:
    """A value as JSON has it; bytes in base64url."""
    return _adapter(kind).dump_python((value,), mode="json")[0]


def loaded(kind: Any, data: Any) -> Any:
    """The value again. Raises ValueError."""
    try:
        return _adapter(kind).validate_json(json.dumps([data]))[0]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # The tuple bears the configuration: a plain dataclass takes it from what it stands in alone.
    one: Any = GenericAlias(tuple, (kind,))
    return TypeAdapter(one, config=_BYTES)


def basis_of(
    station: StationContext, port: str, work_order: str, found: Found, *, version: str, started_at: str
) -> Basis:
    """The basis of a run that begins now."""
    bundle = station.bundle
    return Basis(
        version=version,
        started_at=started_at,
        port=port,
        work_order=work_order,
        found=found,
        recipe=station.recipe,
        device_roots_der=tuple(root.public_bytes(Encoding.DER) for root in station.trust.device_roots),
        log_key=station.trust.log_key,
        bounds=station.bounds,
        board_retries=station.board_retries,
        labels=station.labels is not None,
        key_demands=station.demands.get(work_order),
        chip_busy=found.chip_id in station.busy_chips,
        manifest=None if bundle is None else encode_manifest(bundle.manifest),
        bundle_sha256=None if bundle is None else bundle.digest,
    )


class Tape:
    """The recording of one run while it is made. `clock`: seconds, of the station's clock."""

    def __init__(self, basis: Basis, clock: Callable[[], float]) -> None:
        self._basis = basis
        self._clock = clock
        self._started_s = clock()
        self._lines: list[Call | Happened] = []

    def now_s(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started_s

    def add(self, line: Call | Happened) -> None:
        """Adds a line. What is too many is left out, and `encode` says so."""
        if len(self._lines) <= MAX_LINES:
            self._lines.append(line)

    def tell(self, event: Event) -> None:
        """A `Progress` that records."""
        self.add(Happened(self.now_s(), type(event).__name__, asdict(event)))

    def random_bytes(self, source: Callable[[int], bytes], count: int) -> bytes:
        """Records what a source of random bytes gives."""
        value = source(count)
        now_s = self.now_s()
        self.add(Call(now_s, now_s, CHANCE, "bytes", dumped(bytes, value)))
        return value

    def encode(self, result: Result) -> bytes | None:
        """The recording; None where it would be larger than a reader takes."""
        if len(self._lines) > MAX_LINES:
            return None
        lines = [{"basis": dumped(Basis, self._basis)}]
        lines += [{type(line).__name__.lower(): asdict(line)} for line in self._lines]
        lines.append({"result": asdict(result)})
        data = b"".join(json.dumps(line, ensure_ascii=True).encode() + b"\n" for line in lines)
        return data if len(data) <= MAX_BYTES else None


class _Recorded:
    """Stands before a port of `agent.ports`: calls of the table are recorded, all else passes."""

    def __init__(self, tape: Tape, of: str, real: object, keep: Callable[[str, Any], Any]) -> None:
        self._tape = tape
        self._of = of
        self._real = real
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return partial(self._call, name, real) if name in ANSWERS[self._of] else real

    async def _call(self, name: str, real: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        call = Call(self._tape.now_s(), 0.0, self._of, name, cancelled=True)
        try:
            answer = await real(*args, **named)
            call = replace(call, answer=self._kept(name, answer), cancelled=False)
        except (Exception, SystemExit) as error:
            call = replace(call, failure=_failure(error), cancelled=False)
            raise
        finally:
            self._tape.add(replace(call, ended_s=self._tape.now_s()))
        return answer

    def _kept(self, name: str, answer: Any) -> Any:
        kind = ANSWERS[self._of][name]
        return None if kind is None else dumped(kind, self._keep(name, answer))


def recorded(
    station: StationContext, driver: Driver, tape: Tape, chip_id: str
) -> tuple[StationContext, Driver]:
    """The same station and driver for one run, recorded."""

    def keep(name: str, answer: Any) -> Any:
        if name == "pop" and isinstance(answer, ProofOfPossession):
            return answer.commitment
        if name == "queued_stamps":
            return tuple(queued for queued in answer if queued.chip_id == chip_id)
        return answer

    shown = station.progress

    def progress(event: Event) -> None:
        tape.tell(event)
        shown(event)

    before = partial(_Recorded, tape)
    return (
        replace(
            station,
            signer=cast("Signer", before(SIGNERD, station.signer, keep)),
            journal=cast("Journal", before(JOURNAL, station.journal, keep)),
            labels=None if station.labels is None else cast("Labels", before(PRINTER, station.labels, keep)),
            progress=progress,
            random_bytes=partial(tape.random_bytes, station.random_bytes),
        ),
        cast("Driver", before(BOARD, driver, keep)),
    )


def _failure(error: BaseException) -> Failure:
    kind = type(error).__name__
    if not isinstance(error, AgentError):
        return Failure(kind)
    delay_s = error.delay_s if isinstance(error, SignerBusy) else None
    return Failure(kind, error.code, error.detail, error.verdict, error.remedy, delay_s)
