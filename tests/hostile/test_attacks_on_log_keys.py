"""Another key for the log: by signerd's files and database, by a key that was retired, and past the
administrators. The honest way is `harness.log_keys_that_die.take`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.approvals import Administrators
from harness.log_keys_that_die import STEPS, take, world_with_two
from harness.store_world import NOW, SoftwareLogKey, World
from signerd.adapters.store import SqlStore, known_log_keys
from signerd.core.approval.actions import Approval
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.entry import CheckpointKeyAdded
from signerd.core.note import Checkpoint, NoteError, sign_note
from signerd.errors import Code, ConfigError, Refused, Unavailable

PEOPLE = Administrators.of("test", 2, "ann", "bob", "carol")
STRANGER = SoftwareLogKey(b"stranger")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = world_with_two(tmp_path)
    made.create()
    return made


async def steps(world: World, store: SqlStore, *names: str) -> None:
    for name in names:
        await store.published(await take(world, store, name))


def in_database(world: World, statement: str) -> None:
    with sqlite3.connect(world.database) as connection:
        connection.execute(statement)
    connection.close()


async def test_the_honest_way(world: World) -> None:
    async with world.opened() as store:
        await steps(world, store, *STEPS)
    async with world.opened() as store:
        assert store.log_keys.signers(10**9) == (world.further[0].verifier,)


async def test_a_strangers_key_in_the_settings_signs_nothing(world: World) -> None:
    world.further.append(STRANGER)
    async with world.opened() as store:
        await steps(world, store, *STEPS)
    assert STRANGER.signed == []


async def test_a_strangers_key_in_the_place_of_the_first(world: World) -> None:
    async with world.opened() as store:
        await store.published(0)
    world.log_key = STRANGER
    with pytest.raises(ConfigError, match="no checkpoint of this log"):
        await world.open()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoint_keys SET activated_index = activated_index - 1",
        "UPDATE checkpoint_keys SET retired_index = added_index",
        "UPDATE checkpoint_keys SET vkey = replace(vkey, '+', '-')",
        f"INSERT INTO checkpoint_keys VALUES ('{STRANGER.verifier.text()}', 1, 2, NULL)",
    ],
)
async def test_rows_that_the_entries_do_not_bear_out(world: World, change: str) -> None:
    async with world.opened() as store:
        await steps(world, store, "add", "activate")
    in_database(world, change)
    with pytest.raises(ConfigError, match="damaged"):
        await world.open()


async def test_a_row_that_is_gone_does_not_put_the_old_key_back(world: World) -> None:
    async with world.opened() as store:
        await steps(world, store, *STEPS)
    in_database(world, "DELETE FROM checkpoint_keys")
    first = world.log_key.verifier
    assert known_log_keys(world.url, first) == LogKeys.first(first)
    with pytest.raises(ConfigError, match="no checkpoint of this log"):
        await world.open()


async def test_a_checkpoint_of_a_retired_key_in_the_second_place(world: World) -> None:
    async with world.opened() as store:
        await steps(world, store, *STEPS)
        keys, size = store.log_keys, store.published_size
    honest = keys.open(world.head_file.read_bytes())
    body = Checkpoint(honest.origin, size, honest.root).body()
    forged = sign_note(body, (world.log_key.verifier, await world.log_key.sign_checkpoint(body)))
    with pytest.raises(NoteError):
        keys.open(forged)
    world.head_file.write_bytes(forged)
    with pytest.raises(ConfigError, match="no checkpoint of this log"):
        await world.open()


async def test_a_lost_key_gets_no_successor_afterwards(world: World) -> None:
    async with world.opened() as store:
        await store.published(0)
    world.has_first = False
    async with world.opened() as store:
        index = await take(world, store, "add")
        with pytest.raises(Unavailable):
            await store.published(index)
        with pytest.raises(Refused, match="no checkpoint of the keys of before"):
            await take(world, store, "activate")
        with pytest.raises(Refused, match="only one that signs"):
            await take(world, store, "retire")


async def test_no_key_past_the_administrators(world: World) -> None:
    store = await world.open()
    try:
        store._writer.demanded = PEOPLE.set
        await store.ask_administrators(NOW)

        def adding(key: SoftwareLogKey) -> CheckpointKeyAdded:
            vkey = key.verifier.text()
            return CheckpointKeyAdded(time=NOW, by="ann", vkey=vkey, place="token", recipients=())

        async def honest(approval: Approval) -> int:
            return await store.add_checkpoint_key(adding(world.further[0]), approval)

        async def refused(key: SoftwareLogKey, approval: Approval) -> Code:
            with pytest.raises(Refused) as caught:
                await store.add_checkpoint_key(adding(key), approval)
            return caught.value.code

        statement = await PEOPLE.prepare(honest, now=NOW)
        both = PEOPLE.approve(statement, "ann", "bob")
        assert await refused(world.further[0], None) is Code.APPROVAL_REQUIRED
        assert await refused(world.further[0], PEOPLE.approve(statement, "ann")) is Code.APPROVAL_INVALID
        assert await refused(STRANGER, both) is Code.APPROVAL_INVALID
        await store.published(await honest(both))
        assert len(store.log_keys.keys) == 2
        assert await refused(STRANGER, both) in {Code.INVALID, Code.ALREADY_EXISTS}
    finally:
        await store.close()
