"""A floor with boards in every state, as a busy station would show it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.adapters.shown.live_state import LiveState
from agent.core.events import BoardSeen, Finished, StepDone, StepProgress, StepStarted, Waiting
from agent.core.result import Outcome, Result

STEPS = 14  # twelve of a recipe, `session` and `record`
ORDER = "WO-2026-001"
MORNING = datetime(2026, 11, 20, 6, 2, tzinfo=UTC)


class HandTime:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = MORNING

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def chip(number: int) -> str:
    return f"7c:df:a1:00:00:{number:02x}"


GOOD = Result(
    port="",
    work_order=ORDER,
    chip_id="",
    serial_number="",
    certificate_sha256="aa" * 32,
    outcome=Outcome.PASS,
    step="label",
    code="",
    detail="",
    remedy="",
    seconds=61.4,
    times=(),
)
BAD = replace(
    GOOD,
    outcome=Outcome.FAIL,
    step="first-boot",
    code="first_boot_loops",
    detail="the chip starts again and again",
    remedy="Take the board to the repair desk: its secure bootloader does not start",
)
HELD = replace(
    GOOD,
    outcome=Outcome.PARKED,
    step="record",
    code="signer_unavailable",
    detail="connection refused",
    remedy="It counts when signerd is back; status says so",
)
LOCKED = ("identify", "session", "flash", "keygen", "request", "sign", "install", "configure", "seal")


def result(port: str, number: int, kind: Result = GOOD) -> Result:
    """The result of that board on that port."""
    serial_number = "" if kind is BAD else f"SN-{number:06}"
    return replace(kind, port=port, chip_id=chip(number), serial_number=serial_number)


def busy_floor(ports: int, time: HandTime | None = None) -> LiveState:
    """So many ports: boards that passed and boards on their way; of 16, each state that a port can have."""
    time = time or HandTime()
    live = LiveState(ORDER, STEPS, now=time)
    names = [f"{1 + number // 8}.{1 + number % 8}" for number in range(ports)]
    live.ports_listed(names)
    for number in range(700):
        name = names[number % ports % 14]
        live(BoardSeen(name, chip(number % 250)))
        live(Finished(result(name, number % 250, BAD if number % 97 == 5 else GOOD)))
    for number, name in enumerate(names):
        _stage(live, name, number, time)
    if ports > 15:
        live.ports_listed(name for name in names if name != names[15])
    return live


def _stage(live: LiveState, name: str, number: int, time: HandTime) -> None:
    stage = number % 16
    if stage > 13:
        return  # no board has come
    live(BoardSeen(name, chip(number + 1)))
    time.go(3.5)
    if stage in {1, 5, 9}:
        _steps(live, name, "identify", "session")
        live(StepStarted(name, "flash"))
        live(StepProgress(name, "flash", 11 * (number + 1) % 100, 100))
    elif stage in {6, 13}:
        _steps(live, name, *LOCKED)
        live(StepStarted(name, "first-boot"))
        live(StepProgress(name, "first-boot", 40 + number, 100))
    elif stage == 7:
        live(StepStarted(name, "keygen"))
        live(StepProgress(name, "keygen", 62, 100))
    elif stage == 10:
        live(StepStarted(name, "session"))
        live(Waiting(name, "signerd does not answer: connection refused"))
    else:
        live(Finished(result(name, number + 1, {2: BAD, 11: HELD}.get(stage, GOOD))))


def _steps(live: LiveState, name: str, *steps: str) -> None:
    for step in steps:
        live(StepStarted(name, step))
        live(StepDone(name, step, 1.0))
