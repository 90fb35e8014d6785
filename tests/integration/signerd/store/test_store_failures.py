"""The store on a machine that fails it for a moment."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from harness.store_world import NOW, ORDER, World, intent, issue, stock
from signerd.adapters import durable_files
from signerd.adapters.head_file import HeadFile
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.worker import Reader
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.note import Checkpoint, sign_note
from signerd.errors import Fault, Refused, Unavailable


async def signed(world: World, size: int) -> tuple[Checkpoint, bytes]:
    checkpoint = Checkpoint(world.log_key.verifier.name, size, bytes([size]) * 32)
    signature = await world.log_key.sign_checkpoint(checkpoint.body())
    return checkpoint, sign_note(checkpoint.body(), (world.log_key.verifier, signature))


async def test_a_directory_that_cannot_be_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.create()
    second_place = HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))

    def fails(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(durable_files, "sync_directory", fails)
        with pytest.raises(Unavailable):
            second_place.swap(*await signed(world, 2))
    second_place.swap(*await signed(world, 2))
    second_place.swap(*await signed(world, 3))
    second_place.close()


class EngineThatFailsOnce:
    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, "read")
        self.failures = 1

    def connect(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OperationalError("PRAGMA", None, sqlite3.OperationalError("unable to open database file"))
        return self._engine.connect()

    def dispose(self) -> None:
        self._engine.dispose()


async def test_a_thread_that_cannot_connect_tells_its_callers_and_tries_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.create()
    engine: Any = EngineThatFailsOnce(world.url)
    reader = Reader("reader", engine)
    reader.start()
    with pytest.raises(Unavailable):
        await reader.do(lambda _connection: 1)
    assert await reader.do(lambda _connection: 2) == 2
    await reader.close()


async def test_a_writer_that_has_stopped_keeps_nothing_of_its_callers(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        with sqlite3.connect(world.database) as other:
            other.execute("UPDATE head SET size = size + 1")
        other.close()
        errors = []
        for chip in ("a", "b", "c"):
            with pytest.raises(Fault) as raised:
                await issue(store, intent(chip))
            errors.append(raised.value)
        assert store.fault is not None
        # An exception keeps the traceback of each time that it was raised, and with it the caller's request.
        assert errors[1] is not errors[2]


async def test_a_full_disk_shows_until_a_write_succeeds(tmp_path: Path) -> None:
    """SQLite's own bound on the file stands for the disk's: the error is the same SQLITE_FULL."""
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        await store._writer.do(lambda tx: tx.connection.exec_driver_sql("PRAGMA max_page_count = 1").close())
        chips = [f"chip:{number}" for number in range(5000)]
        with pytest.raises(Unavailable):
            await store.personalize_chips(
                chips, locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW
            )
        assert store.fault is not None
        with pytest.raises(Refused):  # a batch that writes nothing proves nothing
            await store.revoke_peer("birthmark://test/station/plant1/nobody", NOW)
        assert store.fault is not None
        await store._writer.do(
            lambda tx: tx.connection.exec_driver_sql("PRAGMA max_page_count = 1000000").close()
        )
        await issue(store, intent("chip:1"))
        assert store.fault is None
