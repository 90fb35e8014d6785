"""A new database from a copy of the log and a database of before, which somebody may have doctored."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.doctored_store import sql
from harness.filled_store import fill
from harness.fresh_database import fresh_database
from harness.store_of_before import load
from harness.store_world import NOW, STATION, SoftwareLogKey, World, intent, issue, prepare
from signerd.adapters import durable_files
from signerd.adapters.store import CopyOfLog, Rebuilt, rebuild_database, upgrade_database, verify_database
from signerd.adapters.store.tables.schema import metadata
from signerd.adapters.store.verification import rebuild
from signerd.adapters.store.verification.verify import second_place_checkpoint
from signerd.core.note import Checkpoint
from signerd.errors import Code, ConfigError, Refused

pytestmark = pytest.mark.check
# In no entry: a rebuilt database has none of them.
LOST = {"grants", "commits", "kept_states", "renewals"}
Content = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("filled"))
    world.create()
    asyncio.run(fill(world))
    return world


@pytest.fixture
def world(filled: World, tmp_path: Path) -> World:
    shutil.copytree(filled.database.parent, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of an empty database: migrations take a second."""
    monkeypatch.setattr(rebuild, "create_database", fresh_database)


@pytest.fixture(scope="module")
def honest(filled: World) -> Content:
    return content(filled.database)


def new(world: World) -> Path:
    return world.database.with_name("new.sqlite")


def rebuilt(
    world: World, *parts: Path, published: Checkpoint | None = None, first: SoftwareLogKey | None = None
) -> Rebuilt:
    return rebuild_database(
        CopyOfLog.read(world.tiles),
        [f"sqlite:///{each}" for each in parts or (world.database,)],
        new(world),
        (first or world.log_key).verifier,
        published or second_place_checkpoint(world.head_file),
        lambda _step: None,
    )


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    """Without what no entry says: who wrote an intent, and of two issuers whose CRL ends when."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    for row in found:
        for name in ("intent_start", "intent_mac"):
            row.pop(name, None)
    return sorted((row for row in found if not str(row.get("name")).startswith("crl_next_update")), key=repr)


def content(path: Path) -> Content:
    return {table: rows(path, table) for table in metadata.tables.keys() - LOST}


def test_a_rebuilt_database_has_the_rows_of_before(world: World, honest: Content) -> None:
    assert rebuilt(world) == Rebuilt(entries=24, boards=4)
    assert content(new(world)) == honest
    assert new(world).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in new(world).parent.glob("new.sqlite*")] == ["new.sqlite"]
    with pytest.raises(ConfigError, match="is not written over"):
        rebuilt(world)


def findings(world: World) -> list[Any]:
    found = verify_database(world.url, world.head_file, world.log_key.verifier, lambda _step: None)
    return found.found.findings


async def test_signerd_goes_on_with_a_rebuilt_database(world: World) -> None:
    async with world.opened() as store:
        await store.take_place(replace(intent("left open"), issuer_id=2), prepare)
    rebuilt(world)
    world.restore(new(world))
    async with world.opened() as store:
        with pytest.raises(Refused) as again:
            await issue(store, replace(intent("chip-1", "another key"), issuer_id=2))
        assert again.value.code is Code.CHIP_ALREADY_CERTIFIED
        record = await issue(store, replace(intent("chip-3"), issuer_id=2))
        assert record.place.serial_number == "BM-000003"  # the open intent's: nobody was given it
        await store.record_stamp(record, stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
        await issue(store, replace(intent("left open"), issuer_id=2))
        await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW, by="ann")
        assert await store.allot_crl_number() == 2
    assert findings(world) == []


async def test_a_place_of_an_open_intent_is_not_given_again(world: World) -> None:
    """Where a later one is issued, it stays empty."""
    async with world.opened() as store:
        await store.take_place(replace(intent("left open"), issuer_id=2), prepare)
        await issue(store, replace(intent("chip-3"), issuer_id=2))
    rebuilt(world)
    world.restore(new(world))
    async with world.opened() as store:
        record = await issue(store, replace(intent("left open"), issuer_id=2))
        assert record.place.serial_number == "BM-000005"
    assert findings(world) == []


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
async def test_a_log_of_before_is_rebuilt(schema: str, tmp_path: Path) -> None:
    """Its entries are of form 1, which says nothing of anchors."""
    world = load(schema, tmp_path)
    upgrade_database(world.url)
    async with world.opened():
        pass  # writes the tiles
    rebuilt(world)
    before, found = content(world.database), content(new(world))
    for table in before.keys() - {"orders", "counters"}:  # places of the open intent, a note of the upgrade
        assert [row for row in found[table] if row not in before[table]] == [], table
    assert [row["state"] for row in found["records"]] == ["issued", "stamped", "revoked"]
    world.restore(new(world))
    assert findings(world) == []


DOCTORED = [
    "DELETE FROM anchors",
    "DELETE FROM places",
    "UPDATE records SET superseded = 1, state = 'issued', revoked_index = NULL, revoked_at = NULL",
    "UPDATE records SET level = 'none', anchors = '[]', spki_sha256 = randomblob(32), chip_id = 'x'",
    "UPDATE records SET chip = 1, work_order = 'x', number = 9, serial_number = 'x', stamped_at = 1",
    "DELETE FROM certified_chips WHERE id > 1",
    "UPDATE certified_chips SET serial_number = 'BM-000009'",
    "UPDATE orders SET quantity = 1000, places = 0, closed_at = NULL, level = 'none'",
    "UPDATE peers SET revoked_at = 1, renewed_at = 1",
    "INSERT INTO peers (uri, role, spki_sha256, added_at) VALUES ('birthmark://x', 'station', x'00', 1)",
    "UPDATE products SET name = 'x'",
    "INSERT INTO products (sha256, name, toml, added_at) VALUES (x'00', 'x', 'x', 1)",
    "UPDATE chips SET locked = 0, site = 'x', by = 'mallory'",
    "INSERT INTO chips (chip_id, locked, site, personalized_at) VALUES ('c', 1, 'lab', 1)",
    "UPDATE issuers SET state = 'retired'",
    "INSERT INTO approvals VALUES (x'00', 0, 1)",
    "INSERT INTO administrator_sets VALUES (1, 0, '[]')",
    "DELETE FROM operations_cas",
    "UPDATE counters SET value = 99",
    "UPDATE records SET issuer = 1",
    "DELETE FROM entries",
    "UPDATE head SET size = 1, root = x'00', epoch = 9",
]


def test_nothing_of_a_doctored_database_is_taken_over(world: World, honest: Content) -> None:
    for statement in DOCTORED:
        assert sql(world, statement) >= 1
    rebuilt(world)
    assert content(new(world)) == honest


GONE = {
    "a certificate": ("UPDATE records SET certificate_der = x'00' WHERE id = 1", "board BM-000001"),
    "a CSR": ("UPDATE records SET csr_der = x'00' WHERE id = 1", "board BM-000001"),
    "evidence": ("UPDATE records SET evidence = x'00' WHERE id = 1", "board BM-000001"),
    "settings of a board": ("UPDATE records SET settings = x'00' WHERE id = 1", "board BM-000001"),
    "an attestation key": ("UPDATE records SET attester = NULL WHERE id = 1", "board BM-000001"),
    "a stamp": ("UPDATE records SET stamp = x'00' WHERE id = 1", "the stamp of board BM-000001"),
    "a board": ("DELETE FROM records WHERE id = 1", "board BM-000001"),
    "claims": ("UPDATE records SET claims = x'82a0a0' WHERE id = 2", "board BM-000002"),
    "a product": ("UPDATE products SET toml = 'x'", "the text of product sensor"),
    "settings of an order": ("UPDATE orders SET settings = x'00'", "the settings of work order WO-1"),
    "a chip of a list": (
        "DELETE FROM order_chips WHERE chip_id = 'chip-2'",
        r"chips of entry \d+ \(order_chips",
    ),
    "a personalized chip": ("DELETE FROM chips WHERE chip_id = 'a'", r"chips of entry \d+ \(chips"),
    "an imported key": ("UPDATE identities SET spki = x'00' || id", r"chips of entry \d+ \(identities"),
}


@pytest.mark.parametrize("name", GONE)
def test_what_is_in_no_database_of_before(world: World, name: str) -> None:
    statement, said = GONE[name]
    assert sql(world, statement) >= 1
    with pytest.raises(ConfigError, match=said):
        rebuilt(world)
    assert list(new(world).parent.glob("new.sqlite*")) == []


def test_what_one_database_lacks_another_one_has(world: World, filled: World, honest: Content) -> None:
    for statement, _ in GONE.values():
        sql(world, statement)
    rebuilt(world, world.database, filled.database)
    assert content(new(world)) == honest


def bundle(world: World) -> Path:
    (folder,) = (world.tiles / "tile" / "entries").glob("000.p")
    return max(folder.iterdir(), key=lambda path: int(path.name))


def put_note(world: World, note: bytes) -> None:
    (world.tiles / "checkpoint").write_bytes(note)


def alter(world: World) -> None:
    data = bundle(world).read_bytes()
    bundle(world).write_bytes(data.replace(b"chip-1", b"chip-9"))


def sign_anew(world: World) -> None:
    said = CopyOfLog.read(world.tiles).checkpoint
    put_note(world, SoftwareLogKey(b"another").checkpoint(said.size, said.root))


COPIES: dict[str, tuple[Callable[[World], object], str]] = {
    "entries altered": (alter, "other entries than its checkpoint"),
    "a bundle that is cut": (
        lambda world: bundle(world).write_bytes(bundle(world).read_bytes()[:-1]),
        "ends inside",
    ),
    "a bundle taken away": (lambda world: bundle(world).unlink(), "cannot read .*tile/entries"),
    "a checkpoint of another key": (sign_anew, "did not sign"),
    "no checkpoint": (lambda world: (world.tiles / "checkpoint").unlink(), "no file `checkpoint`"),
    "a checkpoint that is none": (lambda world: put_note(world, b"x"), "holds no checkpoint"),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_the_log_that_is_not_the_signed_one(world: World, name: str) -> None:
    edit, said = COPIES[name]
    edit(world)
    with pytest.raises(ConfigError, match=said):
        rebuilt(world)
    assert list(new(world).parent.glob("new.sqlite*")) == []


def test_a_copy_of_the_log_that_is_behind(world: World) -> None:
    with pytest.raises(ConfigError, match="has 24 entries, and 25 were published: take a newer copy"):
        rebuilt(world, published=Checkpoint("x", 25, bytes(32)))


def test_a_copy_of_another_history(world: World) -> None:
    """Both signed: the second place decides."""
    with pytest.raises(ConfigError, match="does not continue what was published at size 20"):
        rebuilt(world, published=Checkpoint("x", 20, bytes(32)))


def test_a_wal_file_that_is_there(world: World) -> None:
    """SQLite would take it for the new database's."""
    new(world).with_name("new.sqlite-wal").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"new.sqlite-wal exists"):
        rebuilt(world)


def test_the_log_of_another_installation(world: World) -> None:
    with pytest.raises(ConfigError, match="another log's"):
        rebuilt(world, first=SoftwareLogKey(b"another"))


@pytest.mark.parametrize("moment", ["_boards", "_demand_right", "rename", "sync_directory"])
def test_killed_in_the_middle_and_given_again(world: World, honest: Content, moment: str) -> None:
    """Before the rename there is a part, which the next call makes anew; after it the database, whole."""
    child = os.fork()
    if child == 0:
        place: Any = {"rename": Path, "sync_directory": durable_files}.get(moment, rebuild)
        if moment == "sync_directory":
            fresh_database(f"sqlite:///{world.database.with_name('other.sqlite')}")  # it syncs, too
            made = world.database.with_name("other.sqlite")
            copied: Callable[[str], object] = lambda url: shutil.copy(made, url.removeprefix("sqlite:///"))  # noqa: E731
            setattr(rebuild, "create_database", copied)  # noqa: B010
        setattr(place, moment, lambda *_a, **_n: os._exit(9))
        try:
            rebuilt(world)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    if moment != "sync_directory":
        assert not new(world).exists()
        assert new(world).with_name("new.sqlite.rebuilding").exists()
        rebuilt(world)
    assert content(new(world)) == honest
