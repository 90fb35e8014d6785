"""The course of one board, as a table: which event may follow which.

Every move that a station makes with a board is an event. An event may happen when all that it needs has
happened, and once. What the table does not allow raises, so that no path through `agent.way` can sign before
the request, seal before what the seal protects was verified, or call a board done before its stamp was
answered.

What a step needs is what a recipe's order needs, `agent.core.recipe.AFTER`: a recipe that passes
`check_order` can be walked, and one that does not cannot.

    session = Session(recipe.names)
    session.on(Event.IDENTIFIED)
    session.on(Event.KEY_MADE)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from agent.core.recipe import AFTER, StepName


class Event(StrEnum):
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


FINAL = frozenset({Event.DONE, Event.PARKED, Event.FAILED})

STEP_EVENT: Mapping[StepName, Event] = {
    StepName.IDENTIFY: Event.IDENTIFIED,
    StepName.FLASH: Event.FLASHED,
    StepName.KEYGEN: Event.KEY_MADE,
    StepName.REQUEST: Event.REQUEST_READ,
    StepName.SIGN: Event.CERTIFIED,
    StepName.INSTALL: Event.INSTALLED,
    StepName.CONFIGURE: Event.CONFIGURED,
    StepName.SEAL: Event.SEALED,
    StepName.FIRST_BOOT: Event.BOOTED,
    StepName.VERIFY: Event.VERIFIED,
    StepName.STAMP: Event.STAMP_READ,
    StepName.LABEL: Event.LABELLED,
}
"""What has happened when a step is behind a board, whether it had to be done or was found done."""

# What events need beside the order of the recipe's steps.
_NEEDS: Mapping[Event, frozenset[Event]] = {
    Event.SESSION_OPENED: frozenset({Event.IDENTIFIED}),
    Event.SESSION_LOST: frozenset({Event.SESSION_OPENED, Event.REQUEST_READ}),
    Event.KEY_MADE: frozenset({Event.IDENTIFIED}),
    Event.FLASHED: frozenset({Event.SESSION_OPENED}),  # what the order demands of the firmware is known
    Event.REQUEST_READ: frozenset({Event.SESSION_OPENED, Event.KEY_MADE}),
    Event.PROVEN: frozenset({Event.INSTALLED, Event.CONFIGURED}),
    Event.SEALED: frozenset({Event.PROVEN}),
    Event.STAMP_ANSWERED: frozenset({Event.STAMP_READ}),
    Event.RECOGNIZED: frozenset({Event.CERTIFIED}),
    Event.DONE: frozenset({Event.STAMP_ANSWERED}),
}
# What may not have happened.
_BARRED: Mapping[Event, frozenset[Event]] = {
    Event.SESSION_LOST: frozenset({Event.CERTIFIED}),
    Event.RECOGNIZED: frozenset({Event.INSTALLED, Event.CONFIGURED}),
}
# Events that say that others have happened, here or at an earlier visit.
_IMPLIES: Mapping[Event, frozenset[Event]] = {
    Event.RECOGNIZED: frozenset(
        {
            Event.INSTALLED,
            Event.CONFIGURED,
            Event.PROVEN,
            Event.SEALED,
            Event.BOOTED,
            Event.VERIFIED,
            Event.STAMP_READ,
            Event.STAMP_ANSWERED,
        }
    ),
    Event.STAMPED_BEFORE: frozenset({Event.STAMP_READ, Event.STAMP_ANSWERED}),
}
_UNDOES: Mapping[Event, frozenset[Event]] = {
    Event.SESSION_LOST: frozenset({Event.SESSION_LOST, Event.SESSION_OPENED, Event.REQUEST_READ}),
}


def needs_of(names: Sequence[StepName]) -> Mapping[Event, frozenset[Event]]:
    """What each event needs, for a board that takes these steps in this order."""
    needs = {event: set(_NEEDS.get(event, ())) for event in Event}
    for step in names:
        needs[STEP_EVENT[step]] |= _events(earlier for earlier in AFTER[step] if earlier in names)
    if _stands_after(StepName.LABEL, StepName.STAMP, names):
        needs[Event.LABELLED].add(Event.STAMP_ANSWERED)
    needs[Event.STAMPED_BEFORE] |= needs[Event.STAMP_READ]
    needs[Event.DONE] |= _events(names)
    return {event: frozenset(needed) for event, needed in needs.items()}


def _events(names: Iterable[StepName]) -> set[Event]:
    return {STEP_EVENT[name] for name in names}


def _stands_after(late: StepName, early: StepName, names: Sequence[StepName]) -> bool:
    return late in names and early in names and names.index(late) > names.index(early)


class IllegalEventError(Exception):
    """The table has no such move: a fault of this program, never of the board or of signerd."""


class Session:
    """One board's walk over the table."""

    def __init__(self, names: Sequence[StepName]) -> None:
        self._needs = needs_of(names)
        self._happened: set[Event] = set()

    def has(self, event: Event) -> bool:
        """True if this has happened."""
        return event in self._happened

    def on(self, event: Event) -> None:
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
