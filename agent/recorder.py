"""Records one board's run while it is made.

tape = Tape(basis_of(station, ...), station.clock.now_s)
station, driver = recorded(station, driver, tape, chip_id)    # and the run goes on as it would without
data = tape.encode(result)
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.bundle_manifest import encode_manifest
from agent.core.events import Event
from agent.core.pop import ProofOfPossession
from agent.core.result import Result
from agent.errors import AgentError, SignerBusy
from agent.ports import (
    Driver,
    Found,
    Journal,
    Signer,
)
from agent.recording import (
    ANSWERS,
    BOARD,
    CHANCE,
    JOURNAL,
    MAX_BYTES,
    MAX_LINES,
    PRINTER,
    SIGNERD,
    Basis,
    Call,
    Failure,
    Happened,
    dumped,
)
from agent.station import StationContext


def basis_of(
    station: StationContext,
    port: str,
    work_order: str,
    found: Found,
    *,
    busy: bool,
    version: str,
    started_at: str,
) -> Basis:
    """The basis of a run that begins now. `busy`: another port has the same chip."""
    bundle = station.bundle
    return Basis(
        version=version,
        started_at=started_at,
        port=port,
        work_order=work_order,
        found=found,
        recipe=station.recipe,
        device_roots_der=tuple(root.public_bytes(Encoding.DER) for root in station.trust.device_roots),
        log_key=station.log_key(),
        bounds=station.bounds,
        board_retries=station.board_retries,
        labels=station.labels is not None,
        key_demands=station.demands.get(work_order),
        chip_busy=busy,
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

    def __init__(
        self, tape: Tape, of: str, methods: Mapping[str, Callable[..., Any]], keep: Callable[[str, Any], Any]
    ) -> None:
        self._tape = tape
        self._of = of
        self._methods = methods
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        real = self._methods.get(name)
        if real is None:
            raise AttributeError(name)
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


def _methods_of_driver(driver: Driver) -> Mapping[str, Callable[..., Any]]:
    return {
        "present": driver.present,
        "identify": driver.identify,
        "flash": driver.flash,
        "keygen": driver.keygen,
        "request": driver.request,
        "install": driver.install,
        "configure": driver.configure,
        "seal": driver.seal,
        "first_boot": driver.first_boot,
        "locks": driver.locks,
        "pop": driver.pop,
        "stamp": driver.stamp,
    }


def _methods_of_signer(signer: Signer) -> Mapping[str, Callable[..., Any]]:
    return {
        "open_session": signer.open_session,
        "sign_csr": signer.sign_csr,
        "record_stamp": signer.record_stamp,
    }


def _methods_of_journal(journal: Journal) -> Mapping[str, Callable[..., Any]]:
    return {
        "begin": journal.begin,
        "step_done": journal.step_done,
        "note_label": journal.note_label,
        "has_label": journal.has_label,
        "finish": journal.finish,
        "queue_stamp": journal.queue_stamp,
        "queued_stamps": journal.queued_stamps,
        "stamp_recorded": journal.stamp_recorded,
        "stamp_refused": journal.stamp_refused,
    }


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

    def before(of: str, methods: Mapping[str, Callable[..., Any]]) -> Any:
        return _Recorded(tape, of, methods, keep)

    shown = station.progress

    def progress(event: Event) -> None:
        tape.tell(event)
        shown(event)

    return (
        replace(
            station,
            signer=before(SIGNERD, _methods_of_signer(station.signer)),
            journal=before(JOURNAL, _methods_of_journal(station.journal)),
            labels=None if station.labels is None else before(PRINTER, {"put": station.labels.put}),
            progress=progress,
            random_bytes=partial(tape.random_bytes, station.random_bytes),
        ),
        cast("Driver", before(BOARD, _methods_of_driver(driver))),
    )


def _failure(error: BaseException) -> Failure:
    kind = type(error).__name__
    if not isinstance(error, AgentError):
        return Failure(kind)
    delay_s = error.delay_s if isinstance(error, SignerBusy) else None
    return Failure(kind, error.code, error.detail, error.verdict, error.remedy, delay_s)
