"""The table of events, and that recipes and boards are held to the same one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.course import FINAL, STEP_EVENT, Course, CourseEvent, IllegalEventError, needs_of
from agent.core.recipe import AFTER, RecipeError, StepName, check_order

ALL = tuple(StepName)
INDISPENSABLE = {
    StepName.IDENTIFY,
    StepName.REQUEST,
    StepName.SIGN,
    StepName.INSTALL,
    StepName.CONFIGURE,
    StepName.STAMP,
}
# What happens beside the steps, before the step's own event.
BESIDE = {
    StepName.FLASH: (CourseEvent.SESSION_OPENED,),
    StepName.REQUEST: (CourseEvent.SESSION_OPENED, CourseEvent.KEY_MADE),
    StepName.SEAL: (CourseEvent.PROVEN,),
}


def walk(names: Sequence[StepName], session: Course | None = None) -> Course:
    """As `agent.board_run` goes over a recipe, without a board."""
    session = session or Course(names)
    for name in names:
        for event in BESIDE.get(name, ()):
            if not session.has(event):
                session.on(event)
        session.on(STEP_EVENT[name])
        if name is StepName.STAMP:
            session.on(CourseEvent.STAMP_ANSWERED)
    session.on(CourseEvent.DONE)
    return session


def until(name: StepName, names: Sequence[StepName] = ALL) -> Course:
    """A board that has this step before it."""
    session = Course(names)
    for earlier in names[: names.index(name)]:
        for event in (*BESIDE.get(earlier, ()), STEP_EVENT[earlier]):
            if not session.has(event):
                session.on(event)
        if earlier is StepName.STAMP:
            session.on(CourseEvent.STAMP_ANSWERED)
    return session


def is_recipe(names: Sequence[StepName]) -> bool:
    try:
        check_order(names)
    except RecipeError:
        return False
    return True


def test_whole_way() -> None:
    whole = walk(ALL)
    assert all(
        whole.has(event) for event in (CourseEvent.DONE, CourseEvent.LABELLED, CourseEvent.STAMP_ANSWERED)
    )


@given(order=st.permutations(ALL), left_out=st.sets(st.sampled_from(sorted(set(ALL) - INDISPENSABLE))))
def test_recipe_is_accepted_if_and_only_if_it_can_be_walked(
    order: list[StepName], left_out: set[StepName]
) -> None:
    if StepName.SEAL in left_out:
        left_out |= {StepName.FIRST_BOOT}  # the one pair that cannot be parted, whatever the order
    names = [name for name in order if name not in left_out]
    try:
        walk(names)
    except IllegalEventError:
        assert not is_recipe(names)
    else:
        assert is_recipe(names)


def orders(names: frozenset[StepName]) -> st.SearchStrategy[list[StepName]]:
    """Orders that the table allows: next is any step of which all that must come first is there."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> list[StepName]:
        left, order = set(names), []
        while left:
            free = sorted(name for name in left if not left.intersection(AFTER[name]))
            order.append(draw(st.sampled_from(free)))
            left.remove(order[-1])
        return order

    return draw_one()


@given(
    order=st.sampled_from(
        [frozenset(ALL), frozenset(INDISPENSABLE), frozenset(ALL) - {StepName.SEAL, StepName.FIRST_BOOT}]
    ).flatmap(orders)
)
def test_every_order_that_the_table_allows_is_a_recipe_and_can_be_walked(order: list[StepName]) -> None:
    check_order(order)
    walk(order)


@pytest.mark.parametrize(
    ("late", "early"), [(late, early) for late in StepName for early in AFTER[late]], ids=str
)
def test_no_step_happens_before_one_that_must_come_first(late: StepName, early: StepName) -> None:
    session = Course(ALL)
    for event in CourseEvent:  # all but the early one has happened, whatever allowed it
        if event not in {STEP_EVENT[early], STEP_EVENT[late]} | FINAL:
            session._happened.add(event)
    with pytest.raises(IllegalEventError):
        session.on(STEP_EVENT[late])
    assert not session.has(STEP_EVENT[late])
    session._happened.add(STEP_EVENT[early])
    session.on(STEP_EVENT[late])


@pytest.mark.parametrize(
    ("event", "needed"),
    [
        (CourseEvent.REQUEST_READ, CourseEvent.SESSION_OPENED),
        (CourseEvent.REQUEST_READ, CourseEvent.KEY_MADE),
        (CourseEvent.FLASHED, CourseEvent.SESSION_OPENED),
        (CourseEvent.SEALED, CourseEvent.PROVEN),
        (CourseEvent.PROVEN, CourseEvent.INSTALLED),
        (CourseEvent.PROVEN, CourseEvent.CONFIGURED),
        (CourseEvent.STAMP_ANSWERED, CourseEvent.STAMP_READ),
        (CourseEvent.LABELLED, CourseEvent.STAMP_ANSWERED),
        (CourseEvent.DONE, CourseEvent.STAMP_ANSWERED),
        *((CourseEvent.DONE, event) for event in STEP_EVENT.values()),
    ],
    ids=str,
)
def test_what_is_needed_beside_the_order(event: CourseEvent, needed: CourseEvent) -> None:
    assert needed in needs_of(ALL)[event]


def test_label_before_the_stamp_does_not_wait_for_it() -> None:
    names: list[StepName] = [name for name in ALL if name is not StepName.LABEL]
    names.insert(names.index(StepName.STAMP), StepName.LABEL)
    assert walk(names).has(CourseEvent.DONE)
    assert CourseEvent.STAMP_ANSWERED not in needs_of(names)[CourseEvent.LABELLED]


@pytest.mark.parametrize("name", [name for name in ALL if name is not StepName.IDENTIFY])
@pytest.mark.parametrize("end", [CourseEvent.PARKED, CourseEvent.FAILED])
def test_every_board_can_fail_and_be_parked_and_that_is_the_end(name: StepName, end: CourseEvent) -> None:
    session = until(name)
    session.on(end)
    for event in CourseEvent:
        with pytest.raises(IllegalEventError):
            session.on(event)


@pytest.mark.parametrize("event", sorted(set(CourseEvent) - FINAL - {CourseEvent.SESSION_LOST}))
def test_nothing_happens_twice(event: CourseEvent) -> None:
    session = Course(ALL)
    session._happened |= needs_of(ALL)[event] | {event}
    with pytest.raises(IllegalEventError):
        session.on(event)


def test_done_is_the_end() -> None:
    session = walk(ALL)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.FAILED)


def test_only_an_answered_stamp_makes_a_board_done() -> None:
    session = until(StepName.STAMP, ALL[:-1])
    session.on(CourseEvent.STAMP_READ)
    with pytest.raises(IllegalEventError, match="stamp-answered"):
        session.on(CourseEvent.DONE)


def test_session_that_is_lost_is_opened_again_and_the_board_asked_again() -> None:
    session = until(StepName.SIGN)
    session.on(CourseEvent.SESSION_LOST)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.CERTIFIED)
    session.on(CourseEvent.SESSION_OPENED)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.CERTIFIED)
    session.on(CourseEvent.REQUEST_READ)
    session.on(CourseEvent.CERTIFIED)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.SESSION_LOST)


def test_board_that_is_recognized_gets_nothing_but_its_label() -> None:
    session = until(StepName.INSTALL)
    session.on(CourseEvent.RECOGNIZED)
    for name in (StepName.INSTALL, StepName.CONFIGURE, StepName.SEAL, StepName.VERIFY, StepName.STAMP):
        with pytest.raises(IllegalEventError):
            session.on(STEP_EVENT[name])
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.DONE)
    session.on(CourseEvent.LABELLED)
    session.on(CourseEvent.DONE)


@pytest.mark.parametrize("stands", [CourseEvent.INSTALLED, CourseEvent.CONFIGURED])
def test_board_that_was_given_something_is_not_recognized(stands: CourseEvent) -> None:
    session = until(StepName.INSTALL)
    session.on(stands)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.RECOGNIZED)


def test_board_that_was_stamped_before_still_needs_all_that_a_stamp_needs() -> None:
    session = until(StepName.VERIFY)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.STAMPED_BEFORE)
    session.on(CourseEvent.VERIFIED)
    session.on(CourseEvent.STAMPED_BEFORE)
    with pytest.raises(IllegalEventError):
        session.on(CourseEvent.STAMP_READ)
    session.on(CourseEvent.LABELLED)
    session.on(CourseEvent.DONE)
