"""Chips of a database of before that prove to be one: merged and named; history stays as it was."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
import rfc8785
from structlog.testing import capture_logs

from boards.attesters.certificate_writer import make_key, pem, root_authority, spki_of
from harness.chip_chains import Chain, Made
from harness.installation import product_toml
from harness.store_of_before import dump, load, upgrade_and_die
from harness.store_world import NOW, World, digest, intent, issue, prepare, with_terms
from signerd.adapters.store import upgrade_database
from signerd.adapters.store.boards import chips_of_records
from signerd.adapters.store.values import RecordFilter
from signerd.core.anchors import Anchor
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.names import Reissue
from signerd.errors import Code, Refused
from signerd.ports import IntentRequest

ROOT = root_authority("Example Silicon Root", make_key("p256"))
CA = Made("Example Silicon CA", key=make_key("p256"))
ONE, TWO, TPM = make_key("p256"), make_key("p256"), make_key("p256")  # DeviceID keys
UEID = b"\x01" + bytes(range(16))
FWID = hashlib.sha256(b"firmware").digest()
SECTION = f'[evidence.x509]\nroots = ["""{pem(ROOT.certificate)}"""]\n'
TOML = product_toml("anchored", methods=["x509"], sections=[SECTION])
TOML_SHA256 = hashlib.sha256(TOML.encode()).digest()


def build(device: Any, number: int, ueid: bytes | None = None) -> tuple[str, bytes, bytes]:
    """Name, evidence and attestation key of a chip with some firmware."""
    alias = make_key("p256")
    name = f"{number:02d}" + hashlib.sha256(spki_of(alias)).hexdigest()[:30]
    identity = Made(hashlib.sha256(spki_of(device)).hexdigest(), key=device, ueid=ueid)
    chain = Chain(CA, identity, Made(name, key=alias, digest=FWID), root=ROOT)
    return name, cbor2.dumps([b"signature", list(chain.certificates)], canonical=True), spki_of(alias)


BOARDS = [
    build(ONE, 1),
    build(TWO, 2),
    build(ONE, 3),
    ("unreadable", b"\xff no evidence", b"its key"),
    build(TPM, 5, UEID),
    build(ONE, 6, UEID),  # shows that the fifth is the first one's chip too
]
FIRST_ISSUED = 12  # entries: ten of the vector, a product, an order
NAMES = [name for name, _, _ in BOARDS]


@pytest.fixture
def old(tmp_path: Path) -> World:
    """Six boards of before, of which four are one chip, beside what the vector has."""
    world = load("0003", tmp_path)
    with closing(sqlite3.connect(world.database)) as database:
        copy = _Copies(database)
        copy.row("products", 1, id=2, sha256=TOML_SHA256, name="anchored", toml=TOML)
        order = {"id": 2, "work_order": "WO-9", "product": "anchored", "product_sha256": TOML_SHA256}
        copy.row("orders", 1, **order, places=len(BOARDS), serial_pattern="N-{number}")
        for number, (name, evidence, key) in enumerate(BOARDS, 1):
            serial, unique = f"N-{number}", digest(f"board {number}")
            copy.insert("serials", chip_id=name, serial_number=serial)
            copy.insert("places", work_order="WO-9", number=number, chip_id=name)
            copy.insert("attesters", spki_sha256=hashlib.sha256(key).digest(), chip_id=name)
            place = {"work_order": "WO-9", "number": number, "product": "anchored", "serial_number": serial}
            der = f"certificate of {serial}".encode()
            unlike = {"spki_sha256": unique, "certificate_serial": unique[:16].hex(), "certificate_der": der}
            unlike |= {"certificate_sha256": hashlib.sha256(der).digest()}
            shown = {"method": "x509", "evidence": evidence, "attester": key}
            index = {"issued_index": FIRST_ISSUED + number - 1}
            copy.row("records", 1, id=10 + number, chip_id=name, **place, **unlike, **shown, **index)
        _log(world, database)
        database.commit()
    return world


def _log(world: World, database: sqlite3.Connection) -> None:
    """What a signerd of before logged of them, under a checkpoint."""
    entries = [data for (data,) in database.execute("SELECT data FROM entries ORDER BY entry_index")]
    product = json.loads(entries[2]) | {"product": "anchored", "product_sha256": TOML_SHA256.hex()}
    order = {"work_order": "WO-9", "serial_pattern": "N-{number}", "quantity": len(BOARDS)}
    own = {"product": "anchored", "product_sha256": TOML_SHA256.hex()}
    added = [product, json.loads(entries[3]) | order | own]
    columns = "number, chip_id, serial_number, certificate_serial"
    hashed = "evidence, attester, certificate_der, spki_sha256"
    asked = f"SELECT {columns}, {hashed} FROM records WHERE work_order = 'WO-9' ORDER BY number"
    for *named, evidence, attester, der, spki in database.execute(asked):
        values = dict(zip(columns.split(", "), named, strict=True))
        digests = {"evidence_sha256": evidence, "attester_sha256": attester, "certificate_sha256": der}
        values |= {name: hashlib.sha256(value).hexdigest() for name, value in digests.items()}
        values |= {"spki_sha256": spki.hex(), "work_order": "WO-9", "product": "anchored", "method": "x509"}
        added.append(json.loads(entries[5]) | values)
    frontier = Frontier()
    for index, data in enumerate([*entries, *map(rfc8785.dumps, added)]):
        frontier.append(leaf_hash(data))
        if index >= len(entries):
            database.execute("INSERT INTO entries VALUES (?, ?, ?)", (index, leaf_hash(data), data))
    database.execute("UPDATE head SET size = ?, root = ?", (frontier.size, frontier.root()))
    world.head_file.write_bytes(world.log_key.checkpoint(frontier.size, frontier.root()))


class _Copies:
    """Rows like one that is there."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def insert(self, table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))

    def row(self, table: str, like: int, **changes: Any) -> None:
        found = self._database.execute(f"SELECT * FROM {table} WHERE id = ?", (like,))
        names = [column[0] for column in found.description]
        self.insert(table, **(dict(zip(names, found.fetchone(), strict=True)) | changes))


def shows(name: str, device: Any, key: str) -> IntentRequest:
    """The chip comes again, with new firmware, on an order of today."""
    request = replace(intent(name, key), method="x509", attester=b"", name_is_label=True)
    return replace(request, anchors=(Anchor.of_key(spki_of(device)),))


def test_each_is_named_and_progress_is_told(old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chips_of_records, "BATCH", 4)
    told: list[tuple[int, int]] = []
    with capture_logs() as logs:
        upgraded = upgrade_database(old.url, lambda done, total: told.append((done, total)))
    assert upgraded is not None
    assert told == [(4, 10), (8, 10), (10, 10)]  # four of the vector's, six of ours
    assert [(one.chip_id, one.serial_number) for one in upgraded.merged] == [
        (NAMES[0], "N-1"),
        (NAMES[2], "N-3"),
        (NAMES[4], "N-5"),
    ]
    assert {(one.same_as, one.same_serial_number) for one in upgraded.merged} == {(NAMES[5], "N-6")}
    assert str(upgraded.merged[0]) == (
        f"chip {NAMES[0]} (board N-1) is the same chip as {NAMES[5]} (board N-6)"
    )
    named = [(line["chip_id"], line["board"]) for line in logs if line["event"] == "chips_are_one"]
    assert set(named) == {(NAMES[0], "N-1"), (NAMES[2], "N-3"), (NAMES[4], "N-5")}
    (unread,) = [line for line in logs if line["event"] == "evidence_not_read"]
    assert (unread["record"], unread["chip_id"]) == (14, "unreadable")


async def test_history_is_as_it_was(old: World) -> None:
    with closing(sqlite3.connect(old.database)) as database:
        before = database.execute(
            "SELECT id, chip_id, serial_number, state, superseded FROM records"
        ).fetchall()
    upgrade_database(old.url)
    with closing(sqlite3.connect(old.database)) as database:
        after = database.execute(
            "SELECT id, chip_id, serial_number, state, superseded FROM records"
        ).fetchall()
        entries = database.execute("SELECT count(*) FROM entries").fetchone()
    assert after == before
    assert entries == (FIRST_ISSUED + len(BOARDS),)
    async with old.opened() as store:
        page = await store.find_records(RecordFilter(work_order="WO-9"))
        assert [record.place.number for record in page.records] == [1, 2, 3, 4, 5, 6]
        own = Anchor.of_key(spki_of(ONE))
        assert [own in record.anchors for record in page.records] == [True, False, True, False, False, True]
        for number in (1, 3, 6):  # each can still be found and revoked
            record = await store.record_by_serial(f"N-{number}")
            assert record is not None
            await store.revoke(serial_number=f"N-{number}", reason="superseded", now=NOW)


async def test_from_then_on_it_is_one_chip(old: World) -> None:
    upgrade_database(old.url)
    async with old.opened() as store:
        for device in (ONE, TPM):
            with pytest.raises(Refused) as caught:
                await store.take_place(shows("newer firmware", device, "new key"), prepare)
            assert caught.value.code is Code.CHIP_ALREADY_CERTIFIED
        again = with_terms(work_order="WO-2", serial_pattern="A-{number}", reissue=Reissue.ALWAYS)
        await store.open_order(again, NOW)
        record = await issue(store, replace(shows("newer firmware", ONE, "new key"), order=again))
        assert record.place.serial_number == "N-6"  # the board that was certified last
        kept = [await store.record_by_serial(f"N-{number}") for number in (1, 3)]
        assert all(each is not None and each.revoked_at is None for each in kept)
        # A chip of its own is told by its anchors as well, and one without evidence by its name.
        other = await issue(store, replace(shows("newer firmware", TWO, "key 2"), order=again))
        assert other.place.serial_number == "N-2"
        unread = replace(intent("unreadable", "key 4"), attester=b"", order=again)
        assert (await issue(store, unread)).place.serial_number == "N-4"


async def test_a_start_names_them_until_one_is_revoked(old: World) -> None:
    upgrade_database(old.url)

    async def named() -> list[str]:
        with capture_logs() as logs:
            async with old.opened():
                pass
        return [line["detail"].split()[1] for line in logs if line["event"] == "one_chip_two_boards"]

    assert await named() == [NAMES[0], NAMES[2], NAMES[4]]
    async with old.opened() as store:
        await store.revoke(serial_number="N-3", reason="superseded", now=NOW)
    assert await named() == [NAMES[0], NAMES[4]]


@pytest.mark.check
def test_after_a_crash_among_the_batches_it_goes_on(old: World, tmp_path: Path) -> None:
    kept = tmp_path / "kept.sqlite"
    with closing(sqlite3.connect(old.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.write_bytes(old.database.read_bytes())
    lived = upgrade_and_die(old, 0)
    assert lived.returncode == 0, lived.stderr
    after, last = dump(old), int(lived.stdout)
    for number in range(last // 3, last + 1, 3):  # each statement: test_store_upgrade
        old.restore(kept)
        assert upgrade_and_die(old, number).returncode == -signal.SIGKILL
        upgrade_database(old.url)
        assert dump(old) == after
