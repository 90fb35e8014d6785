"""Somebody with SQL write access and nothing else, and what only the whole database shows: rows that are not
there, and rows that are there too much.

docs/threat-model.md numbers them under "Doctored stores".
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from harness.doctored_store import change, database, sql
from harness.filled_store import AUDITOR, fill
from harness.key_holders import until
from harness.store_of_before import load
from harness.store_world import NOW, STATION, World, intent, issue
from signerd.adapters.database_check import Compared, DatabaseCheck
from signerd.adapters.metrics import Metrics
from signerd.adapters.store import Registered, SqlStore, Verified, upgrade_database, verify_database
from signerd.adapters.store.verification.findings import Finding
from signerd.errors import ConfigError, Unavailable
from signerd.wiring import database_check

pytestmark = pytest.mark.check


def verified(world: World) -> Verified:
    return verify_database(world.url, world.head_file, world.log_key.verifier, lambda _step: None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("filled"))
    world.create()
    asyncio.run(fill(world))
    return world


@pytest.fixture
def world(filled: World, tmp_path: Path) -> World:
    """A copy, to be doctored."""
    shutil.copytree(filled.database.parent, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


def test_an_honest_database_has_no_findings(world: World) -> None:
    found = verified(world)
    assert (found.found.findings, found.log_is_whole) == ([], True)
    assert found.size == found.covered > 20
    assert found.found.counts["records"] == 4


RECORD = "(SELECT id FROM records WHERE serial_number = 'BM-000001')"
CHIP = "(SELECT chip FROM records WHERE serial_number = 'BM-000001')"
GONE = [
    "DELETE FROM grants WHERE record_id = 1",
    "DELETE FROM anchors WHERE chip = 1",
    "DELETE FROM records WHERE id = 1",
    "DELETE FROM places WHERE chip = 1",
    "DELETE FROM certified_chips WHERE id = 1",
]
# What somebody writes, the table that a finding names, and whether it could be certified again.
DOCTORED: dict[str, tuple[Sequence[str], str, bool]] = {
    "a board taken away": (["DELETE FROM records WHERE id = 1"], "records", True),
    "a board taken away with all that is of it": (GONE, "records", True),
    "a board given the entry of another": (
        ["UPDATE records SET issued_index = (SELECT issued_index FROM records WHERE id = 1) WHERE id = 2"],
        "records",
        False,
    ),
    "an anchor taken away": (["DELETE FROM anchors WHERE kind = 'serial'"], "anchors", True),
    "a chip's name taken away": (["DELETE FROM anchors WHERE value = 'chip-2'"], "anchors", True),
    "an attestation key taken away": (
        ["DELETE FROM anchors WHERE kind = 'key' AND chip = 1"],
        "anchors",
        True,
    ),
    "an anchor given to another chip": (
        ["UPDATE anchors SET chip = 2 WHERE kind = 'serial'"],
        "anchors",
        True,
    ),
    "an anchor altered": (["UPDATE anchors SET value = 'S-2' WHERE kind = 'serial'"], "anchors", True),
    "a key that was never used": (
        ["UPDATE records SET spki_sha256 = zeroblob(32) WHERE id = 1"],
        "records",
        True,
    ),
    "a chip that may have another certificate": (
        ["UPDATE records SET superseded = 1 WHERE id = 1"],
        "certified_chips",
        True,
    ),
    "a record of another chip": (
        ["UPDATE records SET superseded = 1, chip = 3 WHERE id = 1"],
        "certified_chips",
        True,
    ),
    "another board's serial number": (
        ["UPDATE certified_chips SET serial_number = 'BM-000009' WHERE id = 1"],
        "certified_chips",
        False,
    ),
    "a chip without a board": (
        ["INSERT INTO certified_chips (chip_id, serial_number) VALUES ('x', 'BM-000009')"],
        "certified_chips",
        True,
    ),
    "a place taken away": (["DELETE FROM places WHERE chip = 1"], "places", False),
    "a place more": (
        [
            "INSERT INTO places VALUES ('WO-1', 3, 3)",
            "UPDATE orders SET places = 3 WHERE work_order = 'WO-1'",
        ],
        "places",
        False,
    ),
    "a place beyond the quantity": (["UPDATE places SET number = 99 WHERE chip = 1"], "places", False),
    "places lowered": (["UPDATE orders SET places = 0"], "orders", True),
    "a board without an entry": (
        [
            "UPDATE records SET state = 'issued', issued_index = NULL, issued_at = NULL,"
            " stamped_index = NULL, stamped_at = NULL, stamp = NULL WHERE id = 1"
        ],
        "records",
        False,
    ),
    "a stamp taken away": (
        [
            "UPDATE records SET state = 'issued', stamp = NULL, stamp_signature = NULL, stamped_at = NULL,"
            " stamped_index = NULL WHERE id = 1"
        ],
        "records",
        False,
    ),
    "a stamp's time altered": (["UPDATE records SET stamped_at = 1 WHERE id = 1"], "records", False),
    "claims altered": (["UPDATE records SET claims = x'82a0a0' WHERE id = 1"], "records", False),
    "a revocation taken away": (
        [
            "UPDATE records SET state = 'stamped', revoked_at = NULL, revoked_index = NULL,"
            " revoked_reason = NULL WHERE revoked_reason = 'keyCompromise'"
        ],
        "records",
        False,
    ),
    "a revocation that nobody gave": (
        ["UPDATE records SET state = 'revoked', revoked_at = 1, revoked_index = 1 WHERE id = 1"],
        "records",
        False,
    ),
    "a reason altered": (
        ["UPDATE records SET revoked_reason = 'unspecified' WHERE revoked_reason = 'keyCompromise'"],
        "records",
        False,
    ),
    "an issuer that there is not": (["UPDATE records SET issuer = 9 WHERE id = 1"], "records", False),
    "a state altered": (["UPDATE records SET state = 'issued' WHERE id = 1"], "records", False),
    "a certificate's digest altered": (
        ["UPDATE records SET certificate_sha256 = zeroblob(32) WHERE id = 1"],
        "records",
        False,
    ),
    "a peer taken away": (["DELETE FROM peers WHERE role = 'station'"], "peers", False),
    "a peer more": (
        [
            "INSERT INTO peers (uri, role, spki_sha256, added_at)"
            " VALUES ('birthmark://test/station/x/y', 'station', zeroblob(32), 1)"
        ],
        "peers",
        False,
    ),
    "a peer's key of before made the newest": (
        ["UPDATE peers SET renewed_at = 1 WHERE renewed_at IS NULL AND role = 'auditor'"],
        "peers",
        False,
    ),
    "a peer whose key is text": (
        ["UPDATE peers SET spki_sha256 = 'x' WHERE role = 'station'"],
        "peers",
        False,
    ),
    "a product's revision taken away": (["DELETE FROM products WHERE id = 1"], "products", False),
    "revisions exchanged": (
        ["UPDATE products SET id = 9 WHERE id = 1"],
        "products",
        False,
    ),
    "an order taken away": (["DELETE FROM orders WHERE work_order = 'WO-1'"], "orders", False),
    "a closed order opened": (["UPDATE orders SET closed_at = NULL"], "orders", False),
    "an issuer taken away": (["DELETE FROM issuers WHERE id = 1"], "issuers", False),
    "a step of an operations CA taken away": (["DELETE FROM operations_cas"], "operations_cas", False),
    "a key of the log more": (
        ["INSERT INTO checkpoint_keys (vkey, added_index) VALUES ('x+00000000+AAAA', 1)"],
        "checkpoint_keys",
        False,
    ),
    "administrators that nobody set": (
        ["INSERT INTO administrator_sets VALUES (1, 0, '[]')"],
        "administrator_sets",
        False,
    ),
    "an approval marked as used": (["INSERT INTO approvals VALUES (x'00', 0, 1)"], "approvals", False),
    "a personalized chip taken away": (["DELETE FROM chips WHERE chip_id = 'a'"], "chips", False),
    "a personalized chip more": (
        ["INSERT INTO chips (chip_id, locked, site, personalized_at) VALUES ('c', 1, 'lab', 1)"],
        "chips",
        False,
    ),
    "a chip unlocked": (["UPDATE chips SET locked = 0 WHERE chip_id = 'a'"], "chips", False),
    "chips personalized at another time": (["UPDATE chips SET personalized_at = 1"], "chips", False),
    "a chip taken off an order's list": (
        ["DELETE FROM order_chips WHERE chip_id = 'chip-3'"],
        "order_chips",
        False,
    ),
    "a chip put on an order's list": (
        ["INSERT INTO order_chips SELECT work_order, 'chip-9', entry FROM order_chips LIMIT 1"],
        "order_chips",
        False,
    ),
    "an imported key taken away": (["DELETE FROM identities WHERE chip_id = 'chip-1'"], "identities", False),
    "a CRL number lowered": (["UPDATE counters SET value = 0 WHERE name = 'crl_number'"], "counters", False),
    "a counter that there is not": (["INSERT INTO counters VALUES ('x', 1)"], "counters", False),
    "an epoch altered": (["UPDATE head SET epoch = epoch + 1"], "head", False),
    "a root altered": (["UPDATE head SET root = zeroblob(32)"], "head", False),
    "a leaf hash altered": (
        ["UPDATE entries SET leaf_hash = zeroblob(32) WHERE entry_index = 3"],
        "entries",
        False,
    ),
    "an entry taken away": (["DELETE FROM entries WHERE entry_index = 3"], "entries", False),
    "the last entry taken away": (
        ["DELETE FROM entries WHERE entry_index = (SELECT max(entry_index) FROM entries)"],
        "entries",
        False,
    ),
    "an entry that is no bytes": (["UPDATE entries SET data = 'x' WHERE entry_index = 3"], "entries", False),
    "a commit taken away": (["DELETE FROM commits WHERE id = 3"], "commits", False),
    "a commit of other entries": (
        ["UPDATE commits SET leaves = zeroblob(32) WHERE id = 3"],
        "commits",
        False,
    ),
    "a session's record taken away": (
        ["UPDATE grants SET record_id = 99 WHERE record_id = 1"],
        "grants",
        False,
    ),
}


def doctor(world: World, statements: Sequence[str]) -> None:
    assert sum(sql(world, statement) for statement in statements) >= 1


def of_table(found: Verified, table: str) -> list[Finding]:
    return [each for each in found.found.findings if each.table == table]


@pytest.mark.parametrize("name", DOCTORED)
def test_what_the_ledger_does_not_bear_out(world: World, name: str) -> None:
    statements, table, again = DOCTORED[name]
    doctor(world, statements)
    found = verified(world)
    findings = of_table(found, table)
    assert findings, found.found.findings
    assert any(each.again for each in found.found.findings) >= again
    assert all(each.remedy and each.row and each.what for each in findings)


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
def test_an_honest_database_of_before_has_no_findings(schema: str, tmp_path: Path) -> None:
    world = load(schema, tmp_path)
    upgrade_database(world.url)
    assert verified(world).found.findings == []


def test_an_anchor_that_no_record_shows_is_counted(world: World) -> None:
    """As one that a chip showed when it came again: no entry tells them apart, and neither certifies."""
    assert "anchors that no record shows" not in verified(world).found.unproven
    doctor(world, ["INSERT INTO anchors VALUES ('serial', 'x', 'S-9', 1)"])
    found = verified(world).found
    assert (found.findings, found.unproven["anchors that no record shows"]) == ([], 1)


def test_an_entry_altered_with_its_hash_and_the_head(world: World) -> None:
    change(world, 3, lambda entry: entry | {"by": "mallory"})
    (finding, *_) = of_table(verified(world), "entries")
    assert "root that was signed" in finding.what


def test_a_database_that_went_back(world: World, filled: World) -> None:
    note = filled.log_key.checkpoint(10_000, bytes(32))
    world.head_file.write_bytes(note)
    (finding,) = of_table(verified(world), "entries")
    assert "10000 were published" in finding.what


def test_a_checkpoint_that_the_logs_key_did_not_sign(world: World) -> None:
    signed = world.log_key.checkpoint(10, bytes(32))  # another note's signature
    note = world.head_file.read_bytes()
    world.head_file.write_bytes(note.partition(b"\n\n")[0] + b"\n\n" + signed.partition(b"\n\n")[2])
    (finding,) = of_table(verified(world), "entries")
    assert "did not sign" in finding.what


def test_a_database_that_is_wrong_everywhere_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signerd.adapters.store.verification.findings.MAX_KEPT", 2)
    doctor(world, ["DELETE FROM records", "DELETE FROM peers"])
    found = verified(world).found
    assert len(found.findings) == 2
    assert found.total > 8


def test_commands_beside_signerd_go_by_the_ledger(world: World) -> None:
    def registered() -> Registered:
        return Registered(world.url, world.head_file, lambda: world.log_key.verifier)

    honest = registered().peers()
    assert [each.name.uri for each in honest] == [STATION, AUDITOR.uri, AUDITOR.uri]
    doctor(
        world,
        [
            "UPDATE peers SET revoked_at = 1",
            "INSERT INTO peers (uri, role, spki_sha256, added_at)"
            " VALUES ('birthmark://test/station/x/y', 'station', zeroblob(32), 1)",
            "INSERT INTO administrator_sets VALUES (1, 1, '[]')",
        ],
    )
    assert registered().peers() == honest
    assert not registered().administrators().asked
    change(world, 1, lambda entry: entry | {"peer": "birthmark://test/station/x/y"})
    with pytest.raises(ConfigError, match="root that was signed"):
        registered().peers()


# As the real one, and not behind the other tests: at the lowest priority a busy machine makes it wait.
UNHURRIED = (
    "-c",
    "import sys; from signerd.adapters import database_check_process as p; p._LOWEST = 0; sys.exit(p.main())",
)


@pytest.fixture
async def watched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[SqlStore, DatabaseCheck, CollectorRegistry]]:
    """A store, and what compares it in the background, put together as signerd does."""
    monkeypatch.setattr("signerd.adapters.database_check._PROGRAM", UNHURRIED)
    metrics, vkey = Metrics(), world.log_key.verifier.text()
    async with world.opened() as store:
        check = database_check(world.url, world.head_file, vkey, store, metrics, lambda: NOW)
        yield store, check, metrics.registry
        await check.stop()


async def stamped(store: SqlStore, chip: str) -> None:
    record = await issue(store, replace(intent(chip), issuer_id=2))
    await store.record_stamp(record, stamp=b"stamp", signature=b"s", station=STATION, now=NOW)


async def test_no_place_is_taken_while_a_chip_could_be_certified_again(
    world: World, watched: tuple[SqlStore, DatabaseCheck, CollectorRegistry]
) -> None:
    store, check, registry = watched
    begun = await issue(store, replace(intent("chip-3"), issuer_id=2))
    with database(world) as connection:
        kept = connection.execute("SELECT * FROM anchors WHERE value = 'chip-2'").fetchone()
        connection.execute("DELETE FROM anchors WHERE value = 'chip-2'")
    await check.run()
    assert registry.get_sample_value("signerd_database_findings") == 1
    with pytest.raises(Unavailable, match=r"no place is taken.*name chip-2"):
        await issue(store, replace(intent("chip-4"), issuer_id=2))
    await store.record_stamp(begun, stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
    await store.revoke(serial_number="BM-000003", reason="superseded", now=NOW, by="ann")
    sql(world, "INSERT INTO anchors VALUES (?, ?, ?, ?)", *kept)
    await check.run()
    assert registry.get_sample_value("signerd_database_findings") == 0
    await stamped(store, "chip-4")


async def test_an_honest_database_is_compared_by_a_process_of_its_own(world: World) -> None:
    found: list[Compared | None] = []
    vkey = world.log_key.verifier.text()
    check = DatabaseCheck(world.url, world.head_file, vkey, clock=lambda: NOW, on_end=found.append)
    await check.run()
    assert found == [Compared(NOW, 24, 0, again=False, findings=())]


async def test_no_place_is_taken_while_entries_are_missing(
    world: World, watched: tuple[SqlStore, DatabaseCheck, CollectorRegistry]
) -> None:
    """Else whoever takes an anchor away would take an entry too, and nothing were compared."""
    store, check, _ = watched
    doctor(world, ["DELETE FROM entries WHERE entry_index = 3", "DELETE FROM anchors WHERE value = 'chip-2'"])
    await check.run()
    with pytest.raises(Unavailable, match="no place is taken"):
        await issue(store, replace(intent("chip-4"), issuer_id=2))


async def test_what_certifies_no_chip_again_stops_nothing(
    world: World, watched: tuple[SqlStore, DatabaseCheck, CollectorRegistry]
) -> None:
    store, check, registry = watched
    check.repeat(timedelta(hours=1), first_s=0)
    await until(lambda: bool(registry.get_sample_value("signerd_database_compared_timestamp_seconds")))
    assert registry.get_sample_value("signerd_database_findings") == 0
    doctor(world, ["UPDATE records SET revoked_reason = 'unspecified' WHERE id = 2"])
    await check.run()
    assert registry.get_sample_value("signerd_database_findings") == 1
    await stamped(store, "chip-4")


async def test_a_comparison_that_fails_stops_nothing_and_mends_nothing(
    world: World, watched: tuple[SqlStore, DatabaseCheck, CollectorRegistry]
) -> None:
    store, check, registry = watched
    doctor(world, ["DELETE FROM anchors WHERE value = 'chip-2'"])
    note = world.head_file.read_bytes()
    world.head_file.write_bytes(b"none")
    await check.run()
    assert registry.get_sample_value("signerd_database_compared_timestamp_seconds") == 0
    await issue(store, replace(intent("chip-5"), issuer_id=2))
    world.head_file.write_bytes(note)
    await check.run()
    world.head_file.write_bytes(b"none")
    await check.run()
    with pytest.raises(Unavailable, match="no place is taken"):
        await issue(store, replace(intent("chip-4"), issuer_id=2))
    world.head_file.write_bytes(note)
