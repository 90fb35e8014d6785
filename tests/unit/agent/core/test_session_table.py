"""The state table: what it lists happens, all else raises."""

from __future__ import annotations

import pytest

from agent.core.session import FINAL, TABLE, Event, IllegalEventError, Session, State

WHOLE_WAY = (
    Event.IDENTIFIED,
    Event.KEY_MADE,
    Event.SESSION_OPENED,
    Event.REQUEST_READ,
    Event.CERTIFIED,
    Event.INSTALLED,
    Event.CONFIGURED,
    Event.SEALED,
    Event.VERIFIED,
    Event.STAMP_READ,
    Event.STAMP_ANSWERED,
)


def paths() -> dict[State, tuple[Event, ...]]:
    """A shortest way to each state."""
    found: dict[State, tuple[Event, ...]] = {State.NEW: ()}
    frontier = [State.NEW]
    for state in frontier:
        for event, following in TABLE[state].items():
            if following not in found:
                found[following] = (*found[state], event)
                frontier.append(following)
    return found


def at(state: State) -> Session:
    session = Session()
    for event in paths()[state]:
        session.on(event)
    return session


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TABLE) == set(State) == set(paths())


def test_whole_way() -> None:
    session = Session()
    for event in WHOLE_WAY:
        session.on(event)
    assert session.state is State.DONE


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_what_is_not_listed_raises_and_changes_nothing(state: State, event: Event) -> None:
    session = at(state)
    if event in TABLE[state]:
        assert session.on(event) is TABLE[state][event]
        return
    with pytest.raises(IllegalEventError):
        session.on(event)
    assert session.state is state


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_every_board_can_fail_and_be_parked(state: State) -> None:
    assert {Event.FAILED, Event.PARKED} <= set(TABLE[state])


def test_only_an_answered_stamp_makes_a_board_done() -> None:
    into_done = {event for moves in TABLE.values() for event, state in moves.items() if state is State.DONE}
    assert into_done == {Event.STAMP_ANSWERED, Event.ALREADY_STAMPED}
