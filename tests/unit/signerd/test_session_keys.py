"""The keys of sessions that are at hand follow the day and the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signerd.adapters.session_keys import SessionKeys, of_this_process
from signerd.core.session import Session, SessionSealer
from signerd.errors import Fault, Unavailable

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ending(at: datetime) -> Session:
    return Session("birthmark://acme/station/plant1/pc1", "WO-1", "chip:1", bytes(32), at)


class Desk:
    """A clock, a key holder that may be away, and the keys."""

    def __init__(self, era: int = 0) -> None:
        self.now = NOON
        self.away = False
        self.beyond: int | None = None  # a day that it refuses
        self.asked: list[tuple[int, int]] = []
        self.sealer = SessionSealer()
        self.keys = SessionKeys(self.sealer, self.derive, era=era, wall=lambda: self.now)

    async def derive(self, day: int, era: int) -> bytes:
        if self.away:
            raise Unavailable("the key holder is being replaced")
        if day == self.beyond:
            raise Fault("not a day of sessions of now")
        self.asked.append((day, era))
        return bytes((day % 256, era)) * 16


async def test_a_restart_opens_what_was_sealed_before() -> None:
    before, after = Desk(), Desk()
    for desk in (before, after):
        await desk.keys.begin()
    session = ending(NOON + timedelta(hours=20))  # tomorrow
    assert after.sealer.open(before.sealer.seal(session)) == session


async def test_a_day_is_asked_for_once() -> None:
    desk = Desk()
    await desk.keys.begin()
    for hours in (1, 11, 13, 14):
        desk.now = NOON + timedelta(hours=hours)
        await desk.keys.look()
    assert [day for day, _ in desk.asked] == [20_776, 20_777, 20_778, 20_779]


async def test_while_the_key_holder_is_away_the_days_at_hand_go_on() -> None:
    desk = Desk()
    await desk.keys.begin()
    sealed = desk.sealer.seal(ending(NOON + timedelta(hours=13)))
    desk.now, desk.away = NOON + timedelta(days=1), True
    with pytest.raises(Unavailable):
        await desk.keys.look()
    assert desk.sealer.open(sealed) is not None
    desk.away = False
    await desk.keys.look()
    desk.sealer.seal(ending(desk.now + timedelta(hours=13)))


async def test_of_a_key_holder_by_another_clock_the_days_that_it_gives_are_used() -> None:
    desk = Desk()
    desk.beyond = 20_778
    with pytest.raises(Fault, match="not a day"):
        await desk.keys.look()
    sealed = desk.sealer.seal(ending(NOON + timedelta(minutes=15)))
    assert desk.sealer.open(sealed) is not None
    desk.beyond = None
    await desk.keys.look()
    assert [day for day, _ in desk.asked] == [20_776, 20_777, 20_778]


async def test_a_clock_that_was_set_right_forgets_the_sessions_of_before() -> None:
    desk = Desk()
    await desk.keys.begin()
    session = ending(NOON + timedelta(minutes=15))
    sealed = desk.sealer.seal(session)
    await desk.keys.begin_era(9)
    assert desk.sealer.open(sealed) is None
    after = Desk(era=9)  # another start
    await after.keys.begin()
    assert after.sealer.open(sealed) is None
    assert after.sealer.open(desk.sealer.seal(session)) == session


async def test_an_era_that_begins_while_the_key_holder_is_away_seals_nothing() -> None:
    desk = Desk()
    await desk.keys.begin()
    desk.away = True
    await desk.keys.begin_era(9)
    with pytest.raises(Unavailable):
        desk.sealer.seal(ending(NOON))


async def test_keys_of_a_process_are_its_own() -> None:
    first, second = of_this_process(), of_this_process()
    assert await first(1, 0) == await first(1, 0)
    assert len({await first(1, 0), await first(2, 0), await first(1, 1), await second(1, 0)}) == 4
