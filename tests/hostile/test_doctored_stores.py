"""Somebody with SQL write access to signerd's database, and nothing else: no PIN, no socket, no second place.

What they put in, take out or alter is refused at the start, or where it is used. docs/threat-model.md numbers
them under "Doctored stores".
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commit_keys import software_commit_keys
from harness.doctored_store import append, change, encoded, forge_row_of_order, forged_order, log_of, sql
from harness.store_world import (
    NOW,
    ORDER,
    PRODUCT_SHA256,
    PRODUCT_TOML,
    STATION,
    World,
    digest,
    intent,
    issue,
    stock,
    with_terms,
)
from harness.waiting import until
from signerd.adapters.store import SqlStore, committed_keys
from signerd.adapters.store.values import RevokedCertificate
from signerd.core.entry import KeysCommitted
from signerd.core.issuers import IssuerState
from signerd.core.names import parse_peer_uri
from signerd.errors import ConfigError, Fault, Refused
from signerd.ports import CallContext, Record, RecordState

OTHER = "birthmark://test/station/plant1/pc2"
BEYOND = "not what signerd committed"

pytestmark = pytest.mark.check


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A log with a station, a product, an order and a board, all of it under a checkpoint."""
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        await issue(store, intent("chip-1"))
    return world


async def start(world: World) -> None:
    async with world.opened():
        pass


async def unpublished(world: World) -> None:
    """Another station, and no checkpoint over it: the key holder did not sign, and signerd was killed."""
    store = await world.open()
    world.log_key.available = False
    await store.add_peer(parse_peer_uri(OTHER), digest("other station"), NOW)
    await killed(store)
    world.log_key.available = True


async def killed(store: SqlStore) -> None:
    """As far as files go: nothing more is written, and the second place is free."""
    await store.close()


async def test_an_honest_store_starts(world: World) -> None:
    size = len(log_of(world))
    await start(world)
    assert len(log_of(world)) == size


async def test_what_a_crash_left_beyond_the_checkpoint_is_signed(world: World) -> None:
    await unpublished(world)
    async with world.opened() as store:
        await until(lambda: store.published_size == len(log_of(world)), "a checkpoint over all")
        assert await store.peer_of_key(digest("other station"))


async def test_an_order_forged_beyond_the_checkpoint(world: World) -> None:
    append(world, forged_order())
    forge_row_of_order(world)
    signed = len(world.log_key.signed)
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)
    assert len(world.log_key.signed) == signed


async def test_an_entry_forged_behind_honest_ones_that_no_checkpoint_covers(world: World) -> None:
    await unpublished(world)
    append(world, forged_order())
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


async def test_an_honest_entry_beyond_the_checkpoint_altered(world: World) -> None:
    await unpublished(world)
    change(world, len(log_of(world)) - 1, lambda entry: entry | {"spki_sha256": digest("mallory").hex()})
    sql(world, "UPDATE peers SET spki_sha256 = ? WHERE uri = ?", digest("mallory"), OTHER)
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


async def test_commits_taken_away(world: World) -> None:
    await unpublished(world)
    assert sql(world, "DELETE FROM commits") > 0
    with pytest.raises(ConfigError, match="no commit has entry"):
        await start(world)


@pytest.mark.parametrize(
    "change_of_row",
    [
        "epoch = epoch + 1",
        "published = 0",
        "start = zeroblob(16)",
        "mac = zeroblob(32)",
        "leaves = CAST(leaves || zeroblob(32) AS BLOB)",
    ],
)
async def test_a_commit_altered(world: World, change_of_row: str) -> None:
    await unpublished(world)
    last = "(SELECT max(id) FROM commits)"
    assert sql(world, f"UPDATE commits SET {change_of_row} WHERE id = {last}") == 1
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


@pytest.mark.parametrize("value", ["'text'", "NULL", "1.5", "zeroblob(15)"])
async def test_a_commit_of_another_form(world: World, value: str) -> None:
    await unpublished(world)
    connection = sqlite3.connect(world.database)
    with connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'start BLOB NOT NULL', 'start BLOB')"
            " WHERE name = 'commits'"
        )
    connection.close()
    assert sql(world, f"UPDATE commits SET start = {value}") > 0
    with pytest.raises(ConfigError, match="another form"):
        await start(world)


async def test_an_honest_commit_put_in_once_more(world: World) -> None:
    """With its MAC: the boards since the administration changed last are the best that there is to repeat."""
    async with world.opened() as store:
        world.log_key.available = False
        await issue(store, intent("chip-2"))
    world.log_key.available = True
    (again,) = (data for data in log_of(world) if json.loads(data).get("chip_id") == "chip-2")
    append(world, again)
    size = len(log_of(world))
    columns = "start, epoch, published, leaves, mac"
    sql(
        world,
        f"INSERT INTO commits (size_after, {columns}) SELECT {size}, {columns} FROM commits"
        " WHERE id = (SELECT max(id) FROM commits)",
    )
    with pytest.raises(ConfigError, match="stands in the log before"):
        await start(world)


async def test_commits_of_another_installation(world: World) -> None:
    """The same log's name, and another secret."""
    await unpublished(world)
    honest, world.commit_keys = world.commit_keys, software_commit_keys(b"another")
    with pytest.raises(ConfigError, match="MAC of the commit"):
        await start(world)
    world.commit_keys = honest
    await start(world)


async def test_an_entry_under_the_checkpoint_altered_beside_its_old_hash(world: World) -> None:
    """The tree over the hashes is as it was signed, and the bytes are others."""
    entries = log_of(world)
    number = next(index for index, data in enumerate(entries) if b'"order_opened"' in data)
    doctored = entries[number].replace(b'"quantity":10', b'"quantity":99')
    assert doctored != entries[number]
    sql(world, "UPDATE entries SET data = ? WHERE entry_index = ?", doctored, number)
    with pytest.raises(ConfigError, match="not the one that was published"):
        await start(world)


async def test_an_epoch_that_the_log_does_not_give(world: World) -> None:
    sql(world, "UPDATE head SET epoch = epoch + 1")
    with pytest.raises(ConfigError, match="epoch"):
        await start(world)


async def test_entries_in_an_installation_that_never_started(tmp_path: Path) -> None:
    """Until the first checkpoint what `signerd init` wrote counts without a MAC, and nothing beside it."""
    world = World(tmp_path)
    world.create()
    time, key = "2026-11-15T12:00:00Z", bytes(32).hex()
    append(world, encoded(type="station_added", time=time, by=None, peer=OTHER, spki_sha256=key))
    with pytest.raises(ConfigError, match="no checkpoint was ever signed"):
        await start(world)


# From here on: rows of what administrators entered, and signerd serves. The log decides.


async def asked(store: SqlStore, work_order: str = "WO-1") -> CallContext:
    """What a station's call goes by."""
    return await store.call_context(
        peer_uri=STATION, work_order=work_order, chip_id="chip-9", session_sha256=None
    )


async def test_honest_rows_are_used(world: World) -> None:
    async with world.opened() as store:
        context = await asked(store)
        assert (context.order, context.product_toml, context.order_closed) == (ORDER, PRODUCT_TOML, False)
        assert context.peer == await store.peer_of_key(digest("station"))
        (issuer,) = await store.list_issuers()
        assert issuer.state is IssuerState.ACTIVE


ROWS: dict[str, str] = {
    "a quantity raised": "UPDATE orders SET quantity = 1000",
    "a window made longer": "UPDATE orders SET not_after = not_after + 86400",
    "a station more": f"UPDATE orders SET stations = json_array('{STATION}', '{OTHER}')",
    "a level lowered": "UPDATE orders SET level = 'none'",
    "firmware that is older": "UPDATE orders SET minimum_firmware = '{}'",
    "serial numbers of another order": "UPDATE orders SET serial_pattern = 'XX-{number:06d}'",
    "serial numbers from elsewhere": "UPDATE orders SET serial_start = 500",
    "reissue allowed": "UPDATE orders SET reissue = 'always'",
    "settings of somebody else": "UPDATE orders SET settings = X'A16161'",
    "another product": "UPDATE orders SET product = 'other'",
    "a bundle that nobody signed": "UPDATE orders SET bundle_sha256 = zeroblob(32)",
    "an order that is damaged": "UPDATE orders SET stations = 'no JSON'",
    "an order closed": "UPDATE orders SET closed_at = 1",
    "an order taken away": "DELETE FROM orders",
    "locks that are not required": "UPDATE products SET toml = toml || ' '",
    "a product taken away": "DELETE FROM products",
    "a station's key exchanged": "UPDATE peers SET spki_sha256 = zeroblob(32)",
    "a station revoked": "UPDATE peers SET revoked_at = 1",
    "a station renamed": f"UPDATE peers SET uri = '{OTHER}'",
    "a station taken away": "DELETE FROM peers",
    "a station renewed by itself": "UPDATE peers SET automatic = 1",
    "an epoch": "UPDATE head SET epoch = epoch + 1",
    "an epoch of before": "UPDATE head SET epoch = 1",
}


@pytest.mark.parametrize("name", ROWS)
async def test_rows_that_the_log_does_not_bear_out_are_not_used(world: World, name: str) -> None:
    async with world.opened() as store:
        sql(world, ROWS[name])
        with pytest.raises(Fault, match=r"says otherwise|epoch"):
            await asked(store)


async def test_rows_that_were_altered_while_signerd_was_stopped(world: World) -> None:
    for name in ("a quantity raised", "locks that are not required"):
        sql(world, ROWS[name])
    async with world.opened() as store:
        with pytest.raises(Fault, match="quantity is another"):
            await asked(store)


async def test_a_row_of_a_peer_that_nobody_added(world: World) -> None:
    key = digest("mallory")
    sql(
        world,
        "INSERT INTO peers (uri, role, spki_sha256, added_at) VALUES (?, 'station', ?, 1)",
        OTHER,
        key,
    )
    async with world.opened() as store:
        with pytest.raises(Fault, match="table peers"):
            await store.peer_of_key(key)
        assert await store.peer_of_key(digest("nobody")) is None


async def test_a_revoked_station_brought_back(world: World) -> None:
    async with world.opened() as store:
        await store.revoke_peer(STATION, NOW)
        sql(world, "UPDATE peers SET revoked_at = NULL")
        with pytest.raises(Fault, match="revoked_at"):
            await store.peer_of_key(digest("station"))
        with pytest.raises(Fault, match="revoked_at"):
            await asked(store)


async def test_a_closed_order_opened_again(world: World) -> None:
    async with world.opened() as store:
        await store.close_order("WO-1", NOW)
        sql(world, "UPDATE orders SET closed_at = NULL")
        with pytest.raises(Fault, match="it is open"):
            await asked(store)
        with pytest.raises(Refused, match="closed or outside"):  # and where the first look came before
            await issue(store, intent("chip-2"))


async def test_a_place_beyond_the_quantity(world: World) -> None:
    """The row says more, and the look at the order came before it did."""
    async with world.opened() as store:
        sql(world, "UPDATE orders SET quantity = 1000, places = 10")
        with pytest.raises(Refused, match="all 10 places"):
            await issue(store, intent("chip-2"))


async def test_an_order_row_that_no_entry_opened(world: World) -> None:
    forge_row_of_order(world)
    async with world.opened() as store:
        with pytest.raises(Fault, match="no entry of the ledger"):
            await asked(store, "WO-FORGED")
        with pytest.raises(Refused, match="closed or outside"):
            await issue(store, intent("chip-2", order=with_terms(work_order="WO-FORGED")))


async def test_an_order_opened_once_more_with_other_terms(world: World) -> None:
    """Its row and its places are taken away: the log knows that there was one of this name."""
    async with world.opened() as store:
        for table in ("grants", "records", "places", "orders"):
            sql(world, f"DELETE FROM {table}")
        other = with_terms(quantity=1_000, serial_pattern="XX-{number:06d}")
        with pytest.raises(Fault, match="WO-1 is there already"):
            await store.open_order(other, NOW, rehearsed=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE issuers SET state = 'retired'",
        "UPDATE issuers SET certificate_sha256 = zeroblob(31)",
        "UPDATE issuers SET ca = 'other'",
        "DELETE FROM issuers",
        "INSERT INTO issuers (name, ca, state, added_index, certificate_sha256, root_sha256)"
        " VALUES ('mallory', 'other', 'active', 0, X'00', X'00')",
    ],
)
async def test_issuers_that_the_log_does_not_name(world: World, statement: str) -> None:
    sql(world, statement)
    async with world.opened() as store:
        with pytest.raises(Fault, match="table issuers"):
            await store.list_issuers()


async def test_administrators_that_nobody_set(world: World) -> None:
    """Nobody is asked in the log. A row says that one is, or that those of the log are not."""
    sql(world, "INSERT INTO administrator_sets VALUES (1, 1, '[]')")
    async with world.opened() as store:
        assert not (await store.administrators()).asked


async def test_an_older_revision_of_a_product_made_the_newest(world: World) -> None:
    async with world.opened() as store:
        await store.add_product("sensor", PRODUCT_TOML + "# newer\n", NOW)
        sql(world, "UPDATE products SET id = 99 WHERE sha256 = ?", PRODUCT_SHA256)
        newest = await store.product("sensor")
        assert newest is not None
        assert newest.toml.endswith("# newer\n")


async def test_sessions_of_before_the_clock_was_set_right(world: World) -> None:
    async with world.opened() as store:
        index = await store.accept_clock(by="ann", before=NOW, now=NOW)
        sql(world, "DELETE FROM counters")
        assert await store.clock_era() == index


async def test_an_altered_keys_committed_is_not_repeated(world: World) -> None:
    """Where keys are is repeated by the next entry of recipients, and nobody looks at it again."""
    honest = KeysCommitted(
        time=NOW,
        by="ann",
        checkpoint="sealed",
        chip_master="sealed",
        chip_master_commitment=digest("chip master"),
        recipients=(digest("one token"), digest("its spare")),
    )
    async with world.opened() as store:
        first = await store.commit_recipients(honest)
        said = json.loads(log_of(world)[first])
        altered = encoded(**said | {"chip_master_commitment": digest("mallory").hex()})
        sql(world, "UPDATE entries SET data = ? WHERE entry_index = ?", altered, first)
        index = await store.commit_recipients(replace(honest, recipients=(digest("another token"),)))
        newer = json.loads(log_of(world)[index])
    assert newer["recipients"] == [digest("another token").hex()]
    assert newer["chip_master_commitment"] == digest("chip master").hex()


RECIPIENTS = KeysCommitted(
    time=NOW,
    by="ann",
    checkpoint="sealed",
    chip_master="sealed",
    chip_master_commitment=digest("chip master"),
    recipients=(digest("one token"), digest("its spare")),
)


async def committed_twice(world: World) -> tuple[int, int]:
    """The indexes of two entries of recipients, both under a checkpoint."""
    async with world.opened() as store:
        first = await store.commit_recipients(replace(RECIPIENTS, recipients=(digest("mallory"),)))
        return first, await store.commit_recipients(RECIPIENTS)


def recipients_of(world: World) -> tuple[bytes, ...]:
    """As `signerd recipient list` reads them."""
    last = committed_keys(world.url, world.head_file, world.log_key.verifier).last
    assert last is not None
    return last.recipients


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE counters SET value = value - 1 WHERE name = 'keys_committed'",
        "DELETE FROM counters WHERE name = 'keys_committed'",
    ],
)
async def test_a_counter_that_names_another_keys_committed(world: World, statement: str) -> None:
    """An earlier entry of recipients made the last one again, or none."""
    await committed_twice(world)
    assert sql(world, statement) == 1
    assert recipients_of(world) == RECIPIENTS.recipients  # a command beside signerd goes by the log
    with pytest.raises(ConfigError, match="counter keys_committed"):
        await start(world)


async def test_a_counter_that_names_a_keys_committed_in_a_log_without_one(world: World) -> None:
    sql(world, "INSERT INTO counters VALUES ('keys_committed', 2)")
    with pytest.raises(ConfigError, match="counter keys_committed"):
        await start(world)


async def test_an_altered_keys_committed_is_not_read(world: World) -> None:
    _, last = await committed_twice(world)
    assert recipients_of(world) == RECIPIENTS.recipients
    change(world, last, lambda entry: entry | {"recipients": [digest("mallory").hex()]})
    with pytest.raises(ConfigError, match="not those that were published"):
        recipients_of(world)


async def test_a_keys_committed_that_no_checkpoint_covers_is_not_read(world: World) -> None:
    await committed_twice(world)
    forged = json.loads(log_of(world)[-1]) | {"recipients": [digest("mallory").hex()]}
    append(world, encoded(**forged))
    assert recipients_of(world) == RECIPIENTS.recipients


# Revocations and places, which the log has as well.

LOST = "UPDATE records SET state = 'issued', revoked_at = NULL, revoked_index = NULL, revoked_reason = NULL"


async def revoked(store: SqlStore) -> Record:
    """The board's record, revoked by its serial number."""
    record = await store.record_by_serial("BM-000001")
    assert record is not None
    await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW, by="ann")
    return record


async def test_a_revocation_lost_is_in_the_next_crl_all_the_same(world: World) -> None:
    async with world.opened() as store:
        record = await revoked(store)
        sql(world, LOST)
        expected = RevokedCertificate(record.place.certificate_serial, NOW, "keyCompromise")
        assert await store.revoked_certificates() == [expected]
    async with world.opened() as store:
        assert await store.revoked_certificates() == [expected]


async def test_a_revocation_lost_gives_the_board_nothing(world: World) -> None:
    """Neither a stamp, nor its certificate once more, nor another revocation."""
    async with world.opened() as store:
        record = await revoked(store)
        sql(world, LOST)
        with pytest.raises(Fault, match="the ledger revokes it"):
            await store.record_stamp(record, stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
        with pytest.raises(Fault, match="the ledger revokes it"):
            await issue(store, intent("chip-1", session="another"))
        with pytest.raises(Fault, match="the ledger revokes it"):
            await store.revoke(serial_number="BM-000001", reason="superseded", now=NOW)
        session = digest("session of chip-1 with key of chip-1")
        context = await store.call_context(
            peer_uri=STATION, work_order="WO-1", chip_id="chip-1", session_sha256=session
        )
        assert context.granted is not None
        assert context.granted.state is RecordState.REVOKED


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET certificate_der = zeroblob(100)",
        "UPDATE records SET certificate_sha256 = zeroblob(32)",
        "UPDATE records SET certificate_der = NULL",
    ],
)
async def test_a_revoked_certificate_taken_away_leaves_no_crl_without_it(
    world: World, statement: str
) -> None:
    """Whose it is follows from its bytes, where there are several issuers."""
    async with world.opened() as store:
        await revoked(store)
        assert len(await store.revoked_certificates(lambda _der: True)) == 1
        assert await store.revoked_certificates(lambda _der: False) == []
        sql(world, statement)
        with pytest.raises(Fault, match="it is not there"):
            await store.revoked_certificates(lambda _der: True)


async def test_places_lowered(world: World) -> None:
    """With the place's row taken away, the next board would have its number and serial number once more."""
    async with world.opened() as store:
        sql(world, "UPDATE places SET number = 99")
        sql(world, "UPDATE records SET number = 99, serial_number = 'X'")
        sql(world, "UPDATE certified_chips SET serial_number = 'X'")
        sql(world, "UPDATE orders SET places = 0")
        with pytest.raises(Fault, match="place 1 is taken next, and is issued"):
            await issue(store, intent("chip-2"))
