"""What the bulk writer makes of boards is what the store makes of them, table by table and byte by byte."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.jobs import run_job
from harness import read_tiles
from harness.bulk_boards import BoardMaker, BulkBoard, BulkTerms
from harness.bulk_writer import BulkWriter, grant_of, request_of
from harness.installation import SENSOR, Installation, order_toml
from harness.paper_certificates import Authority
from harness.process import COMMANDS, run
from harness.store_world import NOW, ORDER, ORIGIN, STATION, World
from signerd.adapters.commit_keys import StartKey
from signerd.adapters.store import SqlStore, writer
from signerd.adapters.store.boards import issuing, stamping
from signerd.adapters.store.writer import Transaction
from signerd.core.names import parse_peer_uri
from signerd.core.order import Place
from signerd.core.product import parse_product
from signerd.core.profile import Issuer
from signerd.core.settings import encode_settings
from signerd.ports import PreparedBytes

BOARDS, AT_ONCE = 2_000, 250
_MADE_BY_A_START = {"commits", "kept_state"}  # of its name and its MACs


@dataclass
class _Two:
    """The same installation twice, with an order and without a board."""

    real: World
    bulk: World
    terms: BulkTerms
    boards: list[BulkBoard]


class _Counted:
    """The same random bytes again for whoever asks the same questions."""

    def __init__(self) -> None:
        self._asked = 0

    def __call__(self, size: int) -> bytes:
        self._asked += 1
        return sha256(b"%d" % self._asked).digest()[:size]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> _Two:
    directory = tmp_path_factory.mktemp("bulk")
    real, bulk = directory / "real", directory / "bulk"
    real.mkdir()
    world = World(real)
    world.create()
    issuing_ca = Authority.root("Root").subordinate("Sub-CA")
    settings = encode_settings({"endpoint": "mqtts://example.com:8883"})
    order = replace(
        ORDER, product_sha256=sha256(SENSOR.encode()).digest(), quantity=BOARDS, settings=settings,
        minimum_firmware={},
    )  # fmt: skip
    terms = BulkTerms(
        order,
        parse_product(SENSOR),
        Issuer.of([issuing_ca.certificate]),
        STATION,
        lambda tbs: issuing_ca.key.sign(tbs, ec.ECDSA(hashes.SHA256())),
    )

    async def stock() -> None:
        async with world.opened() as store:
            await store.add_peer(parse_peer_uri(STATION), sha256(b"station").digest(), NOW)
            await store.add_product("sensor", SENSOR, NOW)
            await store.open_order(order, NOW, rehearsed=True)

    asyncio.run(stock())
    shutil.copytree(real, bulk)
    maker = BoardMaker(terms, NOW)
    return _Two(world, World(bulk), terms, [maker.board(number) for number in range(1, BOARDS + 1)])


def _prepared(board: BulkBoard) -> Callable[[Place], PreparedBytes]:
    return lambda _: PreparedBytes(board.tbs, board.settings)


def _by_the_store(two: _Two) -> None:
    def some(boards: list[BulkBoard]) -> Callable[[Transaction], None]:
        def unit(tx: Transaction) -> None:
            for board in boards:
                record = issuing.take_place(tx, request_of(board, two.terms), _prepared(board))
                grant = grant_of(board, two.terms, record.record_id)
                record = issuing.complete(tx, record, board.certificate_der, grant, NOW, None)
                stamping.record_stamp(tx, record, board.stamp, board.stamp_signature, STATION, NOW)

        return unit

    async def make(store: SqlStore) -> None:
        for first in range(0, BOARDS, AT_ONCE):
            await store._writer.do(some(two.boards[first : first + AT_ONCE]))

    async def run() -> None:
        async with two.real.opened() as store:
            await make(store)

    asyncio.run(run())


def _in_bulk(two: _Two, random: _Counted) -> None:
    (start_key,) = [StartKey(b"s" * 16, key) for key in asyncio.run(two.bulk.commit_keys.of(b"s" * 16))]
    with sqlite3.connect(two.bulk.database) as db:
        (published,) = db.execute("SELECT size FROM head").fetchone()
    with BulkWriter(
        two.bulk.database, origin=ORIGIN, start_key=start_key, published=published, terms=two.terms,
        random=random,
    ) as made:  # fmt: skip
        for first in range(0, BOARDS, AT_ONCE):
            assert made.write(two.boards[first : first + AT_ONCE]) == 2 * AT_ONCE

    async def publish() -> None:
        async with two.bulk.opened():
            pass

    asyncio.run(publish())


def _tables(world: World) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    with sqlite3.connect(world.database) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in sorted(set(names) - _MADE_BY_A_START):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            kept = [column for column in columns if column not in {"intent_start", "intent_mac"}]
            quoted = ", ".join(f'"{column}"' for column in kept)
            yield name, sorted(db.execute(f"SELECT {quoted} FROM {name}").fetchall(), key=repr)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.check
def test_the_bulk_writer_writes_what_the_store_does(two: _Two, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(writer, "secrets", SimpleNamespace(token_bytes=_Counted()))
        _by_the_store(two)
    _in_bulk(two, _Counted())
    real, bulk = dict(_tables(two.real)), dict(_tables(two.bulk))
    assert len(real["records"]) == BOARDS
    assert real.keys() == bulk.keys()
    for name, rows in real.items():
        assert bulk[name] == rows, name
    assert two.real.head_file.read_bytes() == two.bulk.head_file.read_bytes()
    tiles = _files(two.real.tiles)  # with partial tiles of the checkpoints on the way
    assert _files(two.bulk.tiles).items() <= tiles.items()
    assert len(read_tiles.checked(two.bulk.tiles)) == 2 * BOARDS + 4


@pytest.mark.check
def test_signerd_starts_on_what_was_written_in_bulk_and_an_auditor_finds_nothing(tmp_path: Path) -> None:
    with Installation(tmp_path / "line") as installation:
        installation.start_signerd()
        installation.add_product(SENSOR)
        station, auditor = installation.add_station("plant1", "pc1"), installation.add_auditor("bulk")
        terms = order_toml("WO-1", quantity=BOARDS, stations=[station.uri], serial_pattern="{number:07d}")
        installation.open_order(terms)
        installation.process.stop()
        job = {"config": str(installation.config), "station": station.uri, "work_order": "WO-1"}
        run_job("bench.bulk_fill", job | {"count": BOARDS})
        installation.start_signerd()
        said = run([COMMANDS / "birthmark-auditor", "verify", "--json", "--config", auditor.config])
    summary = json.loads(said.splitlines()[-1])
    assert (summary["clean"], summary["records"], summary["stamps"]) == (True, BOARDS, BOARDS)
    assert summary["orders"][0]["stamped"] == BOARDS
