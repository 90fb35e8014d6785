"""The course of one board, as a table: which event may follow which.

Every move that a station makes with a board is an event. An event may happen when all that it needs has
happened, and once. What the table does not allow raises. So no path through `agent.board_run` can sign
before the request, seal before what the seal protects was verified, or call a board done before its stamp
was answered.

What a step needs is what a recipe's order needs, `agent.core.recipe.AFTER`: a recipe that passes
`check_order` can be walked, and one that does not cannot.

    session = Session(recipe.names)
    session.on(CourseEvent.IDENTIFIED)
    session.on(CourseEvent.KEY_MADE)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from agent.core.recipe import AFTER, StepName


class CourseEvent(StrEnum):
    """What can happen to a board."""

    IDENTIFIED = "identified"  # it said which chip it is
    SESSION_OPENED = "session-opened"
    SESSION_LOST = "session-lost"  # signerd no longer knows it: open another, and ask the board again
    FLASHED = "flashed"  # it runs the firmware of the bundle
    KEY_MADE = "key-made"  # it holds a key
    REQUEST_READ = "request-read"  # its CSR and evidence were read
    CERTIFIED = "certified"  # signerd's answer was checked
    INSTALLED = "installed"  # it stored the certificate
    CONFIGURED = "configured"  # it stored the settings
    PROVEN = "proven"  # what a seal would close over was verified
    SEALED = "sealed"
    BOOTED = "booted"  # its application runs, and has closed its locks
    VERIFIED = "verified"  # what it says it stored was compared
    STAMP_READ = "stamp-read"  # its stamp was checked and is durable in the outbox
    STAMP_ANSWERED = "stamp-answered"
    RECOGNIZED = "recognized"  # signerd holds its stamp, and it holds all it was given: nothing is to be done
    STAMPED_BEFORE = (
        "stamped-before"  # signerd holds its stamp, and it had to be given again what it had lost
    )
    LABELLED = "labelled"  # its label was handed over
    DONE = "done"
    PARKED = "parked"  # left as it is; presented again, it goes on
    FAILED = "failed"


FINAL = frozenset({CourseEvent.DONE, CourseEvent.PARKED, CourseEvent.FAILED})

STEP_EVENT: Mapping[StepName, CourseEvent] = {
    StepName.IDENTIFY: CourseEvent.IDENTIFIED,
    StepName.FLASH: CourseEvent.FLASHED,
    StepName.KEYGEN: CourseEvent.KEY_MADE,
    StepName.REQUEST: CourseEvent.REQUEST_READ,
    StepName.SIGN: CourseEvent.CERTIFIED,
    StepName.INSTALL: CourseEvent.INSTALLED,
    StepName.CONFIGURE: CourseEvent.CONFIGURED,
    StepName.SEAL: CourseEvent.SEALED,
    StepName.FIRST_BOOT: CourseEvent.BOOTED,
    StepName.VERIFY: CourseEvent.VERIFIED,
    StepName.STAMP: CourseEvent.STAMP_READ,
    StepName.LABEL: CourseEvent.LABELLED,
}
"""What has happened when a step is behind a board, whether it had to be done or was found done."""

# What events need beside the order of the recipe's steps.
_NEEDS: Mapping[CourseEvent, frozenset[CourseEvent]] = {
    CourseEvent.SESSION_OPENED: frozenset({CourseEvent.IDENTIFIED}),
    CourseEvent.SESSION_LOST: frozenset({CourseEvent.SESSION_OPENED, CourseEvent.REQUEST_READ}),
    CourseEvent.KEY_MADE: frozenset({CourseEvent.IDENTIFIED}),
    CourseEvent.FLASHED: frozenset({CourseEvent.SESSION_OPENED}),  # the order's demands are known
    CourseEvent.REQUEST_READ: frozenset({CourseEvent.SESSION_OPENED, CourseEvent.KEY_MADE}),
    CourseEvent.PROVEN: frozenset({CourseEvent.INSTALLED, CourseEvent.CONFIGURED}),
    CourseEvent.SEALED: frozenset({CourseEvent.PROVEN}),
    CourseEvent.STAMP_ANSWERED: frozenset({CourseEvent.STAMP_READ}),
    CourseEvent.RECOGNIZED: frozenset({CourseEvent.CERTIFIED}),
    CourseEvent.DONE: frozenset({CourseEvent.STAMP_ANSWERED}),
}
# What may not have happened.
_BARRED: Mapping[CourseEvent, frozenset[CourseEvent]] = {
    CourseEvent.SESSION_LOST: frozenset({CourseEvent.CERTIFIED}),
    CourseEvent.RECOGNIZED: frozenset({CourseEvent.INSTALLED, CourseEvent.CONFIGURED}),
}
# Events that say that others have happened, here or at an earlier visit.
_IMPLIES: Mapping[CourseEvent, frozenset[CourseEvent]] = {
    CourseEvent.RECOGNIZED: frozenset(
        {
            CourseEvent.INSTALLED,
            CourseEvent.CONFIGURED,
            CourseEvent.PROVEN,
            CourseEvent.SEALED,
            CourseEvent.BOOTED,
            CourseEvent.VERIFIED,
            CourseEvent.STAMP_READ,
            CourseEvent.STAMP_ANSWERED,
        }
    ),
    CourseEvent.STAMPED_BEFORE: frozenset({CourseEvent.STAMP_READ, CourseEvent.STAMP_ANSWERED}),
}
_UNDOES: Mapping[CourseEvent, frozenset[CourseEvent]] = {
    CourseEvent.SESSION_LOST: frozenset(
        {CourseEvent.SESSION_LOST, CourseEvent.SESSION_OPENED, CourseEvent.REQUEST_READ}
    ),
}


def needs_of(names: Sequence[StepName]) -> Mapping[CourseEvent, frozenset[CourseEvent]]:
    """What each event needs, for a board that takes these steps in this order."""
    needs = {event: set(_NEEDS.get(event, ())) for event in CourseEvent}
    for step in names:
        needs[STEP_EVENT[step]] |= _events(earlier for earlier in AFTER[step] if earlier in names)
    if _stands_after(StepName.LABEL, StepName.STAMP, names):
        needs[CourseEvent.LABELLED].add(CourseEvent.STAMP_ANSWERED)
    needs[CourseEvent.STAMPED_BEFORE] |= needs[CourseEvent.STAMP_READ]
    needs[CourseEvent.DONE] |= _events(names)
    return {event: frozenset(needed) for event, needed in needs.items()}


def _events(names: Iterable[StepName]) -> set[CourseEvent]:
    return {STEP_EVENT[name] for name in names}


def _stands_after(late: StepName, early: StepName, names: Sequence[StepName]) -> bool:
    return late in names and early in names and names.index(late) > names.index(early)


class IllegalEventError(Exception):
    """The table has no such move: a fault of this program, never of the board or of signerd."""


class Course:
    """One board's walk over the table."""

    def __init__(self, names: Sequence[StepName]) -> None:
        self._needs = needs_of(names)
        self._happened: set[CourseEvent] = set()

    def has(self, event: CourseEvent) -> bool:
        """True if this has happened."""
        return event in self._happened

    def on(self, event: CourseEvent) -> None:
        """Makes the move.

        Raises:
            IllegalEventError: the event may not happen now; nothing changes.
        """
        ended = self._happened & FINAL
        missing = self._needs[event] - self._happened
        barred = self._happened & (_BARRED.get(event, frozenset()) | {event})
        if ended or missing or barred:
            why = ", ".join(sorted(ended or missing or barred))
            raise IllegalEventError(f"{event} may not happen now: {why}")
        self._happened |= {event} | _IMPLIES.get(event, frozenset())
        self._happened -= _UNDOES.get(event, frozenset())
