"""What happens at a station, as values: the table, the page, the log, the journal and a replay read the same.

    def progress(event: Event) -> None:
        match event:
            case Finished(result):
                print(result.outcome)

Whoever is told must return soon and never raises: the boards on all ports wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.core.result import Result


@dataclass(frozen=True, slots=True)
class BoardSeen:
    """A board answered, and its run begins."""

    port: str  # the port's place on the line, or its name where it has none
    chip_id: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began. Two may run at once: the board makes its key while signerd opens the session."""

    port: str
    step: str  # a step of the recipe, or `session` or `record`


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A step moved on."""

    port: str
    step: str
    done: int
    total: int  # bytes, or 100 where `done` is percent


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step is finished."""

    port: str
    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The board is held up, or is tried again; or the port itself cannot take a board. A state is said once:
    it holds until the port's next event."""

    port: str
    detail: str  # one sentence for people


@dataclass(frozen=True, slots=True)
class PortReady:
    """What `Waiting` said of the port is over: it takes boards again."""

    port: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The board passed, failed or was parked. The last event of its run."""

    result: Result


@dataclass(frozen=True, slots=True)
class StampSettled:
    """A stamp left the outbox after its board had gone."""

    work_order: str
    chip_id: str
    serial_number: str
    code: str  # empty if signerd recorded the stamp


@dataclass(frozen=True, slots=True)
class LineDown:
    """No board of any port can get on: signerd is not reached, or it is the wrong one. Said once."""

    code: str
    detail: str  # one sentence for people
    remedy: str
    stop: bool  # only a person can help


@dataclass(frozen=True, slots=True)
class LineUp:
    """What `LineDown` said is over."""


BoardEvent = BoardSeen | StepStarted | StepProgress | StepDone | Waiting | PortReady | Finished
"""What happens to a board on a port."""

Event = BoardEvent | StampSettled | LineDown | LineUp

Progress = Callable[[Event], None]
"""Where events go. See the module."""
