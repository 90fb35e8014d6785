"""Somebody with SQL write access and nothing else, and the rows of boards: records, intents, serial numbers.

docs/threat-model.md numbers them under "Doctored stores".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.doctored_store import sql
from harness.store_of_before import back_to
from harness.store_world import (
    NOW,
    ORDER,
    STATION,
    World,
    certificate_of,
    digest,
    grant_of,
    intent,
    issue,
    prepare,
    stock,
    with_terms,
)
from signerd.adapters.store import SqlStore, upgrade_database
from signerd.core.names import Level, Reissue
from signerd.errors import Fault
from signerd.ports import CallContext, Record, RecordState

FREE = with_terms(work_order="WO-2", reissue=Reissue.ALWAYS, serial_pattern="F-{number:06d}")

pytestmark = pytest.mark.check


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A board that is issued, and one that is stamped."""
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER, FREE)
        await issue(store, intent("chip-1", order=FREE))
        await stamp(store, await issue(store, intent("chip-2", order=FREE)))
    return world


@pytest.fixture
async def store(world: World) -> AsyncIterator[SqlStore]:
    """Just started: no entry is in memory."""
    async with world.opened() as store:
        yield store


async def stamp(store: SqlStore, record: Record) -> Record:
    return await store.record_stamp(record, stamp=b"stamp", signature=b"signature", station=STATION, now=NOW)


async def context(store: SqlStore, chip: str) -> CallContext:
    """What a stamp goes by, and a session's second answer."""
    session = digest(f"session of {chip} with key of {chip}")
    return await store.call_context(peer_uri=STATION, work_order="WO-2", chip_id=chip, session_sha256=session)


async def again(store: SqlStore, chip: str) -> Record:
    """The same board in another session."""
    return await issue(store, intent(chip, order=FREE, session=f"another of {chip}"))


async def reissued(store: SqlStore, chip: str) -> Record:
    """The chip with another key."""
    return await issue(store, intent(chip, f"new key of {chip}", order=FREE))


async def revoked(store: SqlStore, chip: str) -> int:
    """By an administrator, by the board's serial number."""
    serial = "F-000001" if chip == "chip-1" else "F-000002"
    return await store.revoke(serial_number=serial, reason="keyCompromise", now=NOW, by="ann")


Use = Callable[[SqlStore, str], Awaitable[object]]
USES: dict[str, Use] = {
    "a stamp": context,
    "its certificate again": again,
    "a new certificate": reissued,
    "a revocation": revoked,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("chip", ["chip-1", "chip-2"])
async def test_honest_boards_are_used(store: SqlStore, use: str, chip: str) -> None:
    assert await USES[use](store, chip) is not None


async def test_a_board_that_was_issued_just_now_is_used(store: SqlStore) -> None:
    record = await issue(store, intent("chip-3", order=FREE))
    assert (await stamp(store, record)).state is RecordState.STAMPED
    assert await again(store, "chip-3") == await stamp(store, record)
    assert (await reissued(store, "chip-3")).place.serial_number == record.place.serial_number


ROWS: dict[str, str] = {
    "another certificate": "certificate_der = zeroblob(100)",
    "another CSR": "csr_der = zeroblob(100)",
    "settings of somebody else": "settings = zeroblob(100)",
    "a level raised": "level = 'none'",
    "another method": "method = 'none'",
    "other evidence": "evidence = zeroblob(31)",
    "another challenge": "challenge = zeroblob(32)",
    "another station": "station = 'birthmark://test/station/plant1/pc2'",
    "another attestation key": "attester = zeroblob(32)",
    "firmware that was not measured": """measured = '{"app":"9.9.9"}'""",
    "anchors of another chip": """anchors = '[["key",null,"00"]]'""",
    "another product": "product = 'other'",
    "another serial of its certificate": "certificate_serial = '01' || id",
    "anchors that are damaged": "anchors = '[['",
    "a certificate that is text": "certificate_der = 'x'",
    "a serial that is none": "certificate_serial = 'x' || id",
    "no entry": "issued_index = NULL",
    "the entry of something else": "issued_index = 0",
    "an entry that there is not": "issued_index = 9999",
    "an entry that is no number": "issued_index = 'x'",
    "the other board's entry": "issued_index = (SELECT max(issued_index) + min(issued_index) FROM records)"
    " - issued_index",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ROWS)
async def test_a_board_that_the_log_does_not_bear_out(
    world: World, store: SqlStore, name: str, use: str
) -> None:
    assert sql(world, f"UPDATE records SET {ROWS[name]}") == 2
    with pytest.raises(Fault, match=r"says otherwise|ledger entr|it is damaged"):
        await USES[use](store, "chip-1")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "change", ["stamp = X'00'", "stamped_index = issued_index", "stamped_index = NULL", "stamp = NULL"]
)
async def test_a_stamp_that_the_log_does_not_bear_out(
    world: World, store: SqlStore, change: str, use: str
) -> None:
    assert sql(world, f"UPDATE records SET {change} WHERE state = 'stamped'") == 1
    with pytest.raises(Fault, match="says otherwise"):
        await USES[use](store, "chip-2")


async def test_a_board_marked_as_stamped(world: World, store: SqlStore) -> None:
    sql(
        world, "UPDATE records SET state = 'stamped', stamp = X'00', stamped_index = 3 WHERE state = 'issued'"
    )
    with pytest.raises(Fault, match="type is another"):
        await context(store, "chip-1")


async def test_a_serial_number_of_somebody_s_choice(world: World, store: SqlStore) -> None:
    """A new certificate of the chip would have it."""
    sql(world, "UPDATE certified_chips SET serial_number = 'F-000009' WHERE serial_number = 'F-000001'")
    with pytest.raises(Fault, match="table certified_chips"):
        await reissued(store, "chip-1")


async def test_a_chip_keeps_its_serial_number_in_another_order(store: SqlStore) -> None:
    record = await issue(store, intent("chip-1", "new key", order=replace(ORDER, reissue=Reissue.ALWAYS)))
    assert (record.place.work_order, record.place.serial_number) == ("WO-1", "F-000001")


# Intents, of which no entry says anything yet.

INTENTS: dict[str, str] = {
    "a level raised": "level = 'none'",
    "other evidence": "evidence = zeroblob(31)",
    "other bytes": "tbs = X'00'",
    "another CSR": "csr_der = X'00'",
    "settings of somebody else": "settings = X'00'",
    "another method": "method = 'none'",
    "firmware that was not measured": """measured = '{"app":"9.9.9"}'""",
    "anchors of another chip": """anchors = '[["key",null,"00"]]'""",
    "another product": "product = 'other'",
    "another serial of its certificate": "certificate_serial = '01'",
    "a MAC taken away": "intent_mac = NULL",
    "a MAC of somebody else": "intent_mac = zeroblob(32)",
    "a start that there was not": "intent_start = zeroblob(16)",
    "a start that is no bytes": "intent_start = 'x'",
}
REQUEST = intent("chip-4", order=FREE)


async def left_open(world: World) -> Record:
    """A crash after step 8."""
    async with world.opened() as store:
        return await store.take_place(REQUEST, prepare)


async def test_an_honest_intent_is_resumed_with_its_bytes(world: World) -> None:
    left = await left_open(world)
    for _ in range(2):
        async with world.opened() as store:
            later = replace(REQUEST, certificate_serial=99, session_sha256=digest("another session"))
            assert await store.take_place(later, prepare) == left


@pytest.mark.parametrize("name", INTENTS)
@pytest.mark.parametrize("restarted", [True, False])
async def test_an_intent_altered_is_begun_again(world: World, name: str, restarted: bool) -> None:
    """With the evidence of the retry, and bytes that signerd makes."""
    left = await left_open(world)
    change = f"UPDATE records SET {INTENTS[name]} WHERE state = 'intent'"
    if restarted:
        assert sql(world, change) == 1
    async with world.opened() as store:
        if not restarted:
            await store.take_place(REQUEST, prepare)
            assert sql(world, change) == 1
        retry = replace(REQUEST, certificate_serial=99)
        begun = await store.take_place(retry, prepare)
        assert begun.place == replace(left.place, certificate_serial=99)
        assert (begun.level, begun.evidence, begun.method) == (Level.KEY, bytes(32), "hmac-sha256")
        assert begun.tbs == prepare(begun.place).tbs
        assert begun.csr_der == REQUEST.csr_der
        done = await store.complete(begun, certificate_of(begun), grant_of(retry, begun), NOW)
        assert done.state is RecordState.ISSUED


async def test_an_intent_with_a_serial_number_of_somebody_s_choice(world: World) -> None:
    await left_open(world)
    sql(world, "UPDATE records SET serial_number = 'F-000009' WHERE state = 'intent'")
    async with world.opened() as store:
        with pytest.raises(Fault, match="table certified_chips"):
            await store.take_place(REQUEST, prepare)


async def test_an_intent_of_before_is_begun_again(world: World) -> None:
    left = await left_open(world)
    back_to(world, "0013")
    assert upgrade_database(world.url) is not None
    async with world.opened() as store:
        begun = await store.take_place(replace(REQUEST, certificate_serial=99), prepare)
        assert begun.place == replace(left.place, certificate_serial=99)
        assert await store.take_place(replace(REQUEST, certificate_serial=100), prepare) == begun
