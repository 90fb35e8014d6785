"""The course of one board, as a table: which event may follow in which state.

Every move that a station makes with a board is an event. What the table does not list raises, so that
no path through `provision` can sign before the request, store before the certificate was checked, or
call a board done before its stamp was answered.

    session = Session()
    session.on(Event.IDENTIFIED)
    session.on(Event.KEY_MADE)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a board stands."""

    NEW = "new"  # a port with something on it
    IDENTIFIED = "identified"  # its hello was read
    KEYED = "keyed"  # it holds a key; no session yet
    OPENED = "opened"  # a session is open; its key is still being made
    READY = "ready"  # key and session
    REQUESTED = "requested"  # its CSR and evidence were read
    CERTIFIED = "certified"  # signerd's answer was checked
    INSTALLED = "installed"  # it stored the certificate
    CONFIGURED = "configured"  # it stored the settings
    SEALED = "sealed"
    VERIFIED = "verified"  # what it says it stored was compared
    STAMP_READ = "stamp-read"  # its stamp was checked and is durable in the outbox
    DONE = "done"
    PARKED = "parked"  # left as it is; presented again, it goes on
    FAILED = "failed"


class Event(StrEnum):
    """What can happen to a board."""

    IDENTIFIED = "identified"
    KEY_MADE = "key-made"
    SESSION_OPENED = "session-opened"
    SESSION_LOST = "session-lost"  # signerd no longer knows it: open another
    REQUEST_READ = "request-read"
    CERTIFIED = "certified"
    ALREADY_STAMPED = "already-stamped"  # signerd holds its stamp and the board holds all it was given
    INSTALLED = "installed"
    CONFIGURED = "configured"
    SEALED = "sealed"
    VERIFIED = "verified"
    STAMP_READ = "stamp-read"
    STAMP_ANSWERED = "stamp-answered"
    PARKED = "parked"
    FAILED = "failed"


FINAL = frozenset({State.DONE, State.PARKED, State.FAILED})

_FORWARD: dict[State, dict[Event, State]] = {
    State.NEW: {Event.IDENTIFIED: State.IDENTIFIED},
    # The board makes its key while signerd opens the session: either may be first.
    State.IDENTIFIED: {Event.KEY_MADE: State.KEYED, Event.SESSION_OPENED: State.OPENED},
    State.KEYED: {Event.SESSION_OPENED: State.READY},
    State.OPENED: {Event.KEY_MADE: State.READY},
    State.READY: {Event.REQUEST_READ: State.REQUESTED},
    State.REQUESTED: {Event.CERTIFIED: State.CERTIFIED, Event.SESSION_LOST: State.KEYED},
    # A board that was stamped before and lost what it had stored goes the whole way but for the stamp.
    State.CERTIFIED: {Event.INSTALLED: State.INSTALLED, Event.ALREADY_STAMPED: State.DONE},
    State.INSTALLED: {Event.CONFIGURED: State.CONFIGURED},
    # A recipe may leave out seal and verify.
    State.CONFIGURED: {
        Event.SEALED: State.SEALED,
        Event.VERIFIED: State.VERIFIED,
        Event.STAMP_READ: State.STAMP_READ,
        Event.ALREADY_STAMPED: State.DONE,
    },
    State.SEALED: {
        Event.VERIFIED: State.VERIFIED,
        Event.STAMP_READ: State.STAMP_READ,
        Event.ALREADY_STAMPED: State.DONE,
    },
    State.VERIFIED: {Event.STAMP_READ: State.STAMP_READ, Event.ALREADY_STAMPED: State.DONE},
    State.STAMP_READ: {Event.STAMP_ANSWERED: State.DONE},
    State.DONE: {},
    State.PARKED: {},
    State.FAILED: {},
}

TABLE: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        state: MappingProxyType(
            moves if state in FINAL else {**moves, Event.PARKED: State.PARKED, Event.FAILED: State.FAILED}
        )
        for state, moves in _FORWARD.items()
    }
)


class IllegalEventError(Exception):
    """The table has no such move: a fault of this program, never of the board or of signerd."""


class Session:
    """One board's walk over the table."""

    def __init__(self) -> None:
        self._state = State.NEW

    @property
    def state(self) -> State:
        """Where the board stands."""
        return self._state

    def on(self, event: Event) -> State:
        """Makes the move.

        Raises:
            IllegalEventError: the event may not happen in this state; the state stays.
        """
        following = TABLE[self._state].get(event)
        if following is None:
            raise IllegalEventError(f"{event} may not happen in state {self._state}")
        self._state = following
        return following
