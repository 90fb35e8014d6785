"""A start that goes on from a kept state, and somebody with SQL write access and nothing else.

The state is kept at each commit here, and not each 100,000 entries. docs/threat-model.md numbers them under
"Doctored stores".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from structlog.testing import capture_logs

from harness.doctored_store import database, log_of, sql
from harness.store_world import NOW, ORDER, World, intent, issue, refusals, stock, with_terms
from harness.waiting import until
from signerd.adapters.store import SqlStore
from signerd.core.merkle import leaf_hash
from signerd.errors import ConfigError, Fault, Unavailable

pytestmark = pytest.mark.check

SECOND = with_terms(work_order="WO-2", serial_pattern="S-{number:06d}")


@pytest.fixture(autouse=True)
def _kept_at_each_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.adapters.store.writer.EVERY", 1)


async def made(directory: Path) -> World:
    """Two orders, two boards, one of them revoked. All of it but the last commit is in the kept state."""
    world = World(directory)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER, SECOND)
        first = await issue(store, intent("chip-1"))
        await issue(store, intent("chip-2", order=SECOND))
        await store.revoke(serial_number=first.place.serial_number, reason="keyCompromise", now=NOW, by="ann")
        await store.append_refusals(refusals(3))
        await store.append_refusals(refusals(1, "chip_unknown"))
    return world


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await made(tmp_path)


async def start(world: World) -> tuple[SqlStore, list[str]]:
    """A store, and why it read the log whole; nothing where it did not."""
    with capture_logs() as logs:
        store = await world.open()
    return store, [line["why"] for line in logs if line["event"] == "kept_state_not_used"]


async def whole(world: World) -> tuple[object, ...]:
    """What the log says, read without a kept state. Those who come after find it again."""
    with database(world) as connection:
        kept = connection.execute("SELECT * FROM kept_states").fetchone()
        connection.execute("DELETE FROM kept_states")
    store, why = await start(world)
    assert not why
    said = said_by(store)
    await store.close()
    with database(world) as connection:
        connection.execute("DELETE FROM kept_states")
        connection.execute("INSERT INTO kept_states VALUES (?, ?, ?, ?)", kept)
    return said


def said_by(store: SqlStore) -> tuple[object, ...]:
    states = store._writer.states
    changes = states.changes
    return (
        states.newest,
        states.boards.highest,
        list(states.boards.revocations),
        changes.indices,
        changes.digest(),
    )


async def test_it_says_what_the_log_says(world: World) -> None:
    wanted = await whole(world)
    store, why = await start(world)
    assert not why
    assert said_by(store) == wanted
    await issue(store, intent("chip-3"))
    await store.close_order("WO-2", NOW)
    await store.close()
    assert await whole(world) != wanted
    wanted = await whole(world)
    store, why = await start(world)
    assert (said_by(store), why) == (wanted, [])
    await store.close()


async def test_a_kept_state_that_no_checkpoint_covers_is_not_used(world: World) -> None:
    size = len(log_of(world))
    store = await world.open()
    world.log_key.available = False
    for number in range(3):
        await issue(store, intent(f"chip-{number + 3}"))
    await store.close()
    world.log_key.available = True
    store, why = await start(world)
    said = said_by(store)
    await store.close()
    assert why == [f"it is of {size + 2} entries, and a checkpoint covers {size}"]
    assert said == await whole(world)


async def test_commits_of_a_crash_are_compared_with_entries_below_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was made while a checkpoint was signed: its MAC has the size that was published then, and
    the kept state is of more entries."""
    signing, go_on, sign = asyncio.Event(), asyncio.Event(), world.log_key.sign_checkpoint

    async def slow(body: bytes) -> bytes:
        if go_on.is_set():
            raise Unavailable("the key holder is gone")
        signing.set()
        await go_on.wait()
        return await sign(body)

    world.log_key.sign_checkpoint = slow  # type: ignore[method-assign]
    store = await world.open()
    await issue(store, intent("chip-3"))
    await signing.wait()
    await issue(store, intent("chip-4"))
    with database(world) as connection:
        ((published, end),) = connection.execute("SELECT max(published), max(size_after) FROM commits")
    monkeypatch.setattr("signerd.adapters.store.writer.EVERY", 1_000)
    await issue(store, intent("chip-5"))
    go_on.set()
    await until(lambda: store.published_size > published, "a checkpoint")
    await store.close()
    world.log_key.sign_checkpoint = sign  # type: ignore[method-assign]
    assert world.head_file.read_bytes().splitlines()[1] != str(len(log_of(world))).encode()
    store, why = await start(world)
    said, kept = said_by(store), store._writer.kept
    await store.close()
    assert why == []
    assert published < kept < end  # what was to be shown
    assert said == await whole(world)


WRONG = {
    "altered": "UPDATE kept_states SET state = CAST(replace(state, 'WO-1', 'WO-9') AS BLOB)",
    "cut": "UPDATE kept_states SET state = substr(state, 1, length(state) - 1)",
    "empty": "UPDATE kept_states SET state = x''",
    "a text": "UPDATE kept_states SET state = 'WO-1'",
    "another MAC": "UPDATE kept_states SET mac = zeroblob(32)",
    "a MAC of another form": "UPDATE kept_states SET mac = 7",
    "another start": "UPDATE kept_states SET start = zeroblob(16)",
    "a start of another form": "UPDATE kept_states SET start = zeroblob(17)",
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_kept_state_altered_is_not_used(world: World, name: str) -> None:
    wanted = await whole(world)
    assert sql(world, WRONG[name]) == 1
    store, why = await start(world)
    assert why == ["its MAC does not hold"]
    assert said_by(store) == wanted
    await store.close()


async def test_a_huge_kept_state_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.adapters.store.state.kept_states._MAX_BYTES", 100)
    store, why = await start(world)
    await store.close()
    assert why == ["its MAC does not hold"]


async def test_the_kept_state_of_another_installation_is_not_used(world: World, tmp_path: Path) -> None:
    """Of one with the same key holder and name, as a clone has them: its entries are others."""
    (tmp_path / "other").mkdir()
    other = await made(tmp_path / "other")
    with database(other) as connection:
        row = connection.execute("SELECT start, mac, state FROM kept_states").fetchone()
    wanted = await whole(world)
    sql(world, "UPDATE kept_states SET start = ?, mac = ?, state = ?", *row)
    store, why = await start(world)
    assert why == ["it is of another tree"]
    assert said_by(store) == wanted
    await store.close()


async def test_an_older_kept_state_leads_to_the_same(world: World) -> None:
    with database(world) as connection:
        row = connection.execute("SELECT start, mac, state FROM kept_states").fetchone()
    async with world.opened() as store:
        await issue(store, intent("chip-3"))
        await store.close_order("WO-2", NOW)
    wanted = await whole(world)
    sql(world, "UPDATE kept_states SET start = ?, mac = ?, state = ?", *row)
    store, why = await start(world)
    assert (said_by(store), why) == (wanted, [])
    await store.close()


def index_of(world: World, kind: str) -> int:
    return next(at for at, data in enumerate(log_of(world)) if json.loads(data)["type"] == kind)


@pytest.mark.parametrize("kind", ["order_opened", "station_added", "product_added"])
@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
async def test_an_entry_of_an_administrator_below_it(world: World, kind: str, *, gone: bool) -> None:
    """It is read all the same, and signerd does not start."""
    at = index_of(world, kind)
    data = rfc8785.dumps(json.loads(log_of(world)[at]) | {"by": "mallory"})
    if gone:
        sql(world, "DELETE FROM entries WHERE entry_index = ?", at)
    else:
        sql(
            world,
            "UPDATE entries SET data = ?, leaf_hash = ? WHERE entry_index = ?",
            data,
            leaf_hash(data),
            at,
        )
    with (
        capture_logs() as logs,
        pytest.raises(ConfigError, match=r"The tables are not what the ledger says"),
    ):
        await world.open()
    assert [line["why"] for line in logs if line["event"] == "kept_state_not_used"] == [
        "the entries that it names are others in the database"
    ]


Tamper = Callable[[World, int], None]


def _altered(world: World, at: int) -> None:
    data = rfc8785.dumps(json.loads(log_of(world)[at]) | {"time": "2026-11-15T11:00:00Z"})
    sql(world, "UPDATE entries SET data = ?, leaf_hash = ? WHERE entry_index = ?", data, leaf_hash(data), at)


def _gone(world: World, at: int) -> None:
    sql(world, "DELETE FROM entries WHERE entry_index = ?", at)


@pytest.mark.parametrize("tamper", [_altered, _gone])
async def test_an_entry_of_a_board_below_it_is_not_given_out(world: World, tamper: Tamper) -> None:
    """signerd starts. What the entry says was kept, and whoever asks for it gets an error."""
    at = index_of(world, "issued")
    wanted = await whole(world)
    tamper(world, at)
    store, why = await start(world)
    assert (said_by(store), why) == (wanted, [])
    for asked in (store.published(at), store.entries(0, at + 1)):
        with pytest.raises(Fault, match=rf"entry {at} |lacks ledger entries"):
            await asked
    await store.close()


@pytest.mark.parametrize("tamper", [_altered, _gone])
async def test_a_revocation_below_it_is_in_the_next_crl_all_the_same(world: World, tamper: Tamper) -> None:
    tamper(world, index_of(world, "revoked"))
    store, why = await start(world)
    assert not why
    assert [each.reason for each in store._writer.states.boards.revocations] == ["keyCompromise"]
    await store.close()


async def test_a_commit_that_fails_leaves_the_one_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the transaction of a commit: a crash before that leaves nothing of it."""

    def row() -> object:
        with database(world) as connection:
            return connection.execute("SELECT start, mac, state FROM kept_states").fetchone()

    async with world.opened() as store:
        await store.append_refusals(refusals(1))
        before, kept = row(), store._writer.kept
        with monkeypatch.context() as broken:
            broken.setattr("signerd.adapters.store.writer.Writer._append", _fails)
            with pytest.raises(Fault, match="the disk is full"):
                await store.append_refusals(refusals(1))
        assert (row(), store._writer.kept) == (before, kept)
        await store.append_refusals(refusals(1))
        assert row() != before
    store, why = await start(world)
    assert not why
    await store.close()


def _fails(*_: object) -> bytes:
    raise Fault("the disk is full")
