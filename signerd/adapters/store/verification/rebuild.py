"""`signerd database rebuild`: a new database from a copy of the log, and from databases of before.

The copy of the log is a folder of its tiles with their signed checkpoint: signerd's own, or an auditor's
export. It decides. What entries name by a digest alone (certificates, evidence, texts, lists of chips) comes
from databases of before, doctored ones too, as far as the digests bear it out.

Guarantees that the new database is there only if nothing is missing and `verify` finds nothing in it.

Order of writes, and what a crash after each means:
  1. `NEW.rebuilding`, in several transactions: a part, which no signerd is told of. The next call makes it
     anew;
  2. its WAL file taken into it, all of it on the disk: the same;
  3. renamed to `NEW`: it is there, whole. signerd uses it once somebody puts it in the place of the old one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import durable_files
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store.tables.database import check_database, create_database, make_engine, start_fault
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.schema import entries, head
from signerd.adapters.store.verification.rebuild_administration import write_administration, write_lists
from signerd.adapters.store.verification.rebuild_boards import Boards
from signerd.adapters.store.verification.rebuild_parts import Parts
from signerd.adapters.store.verification.verify import Step, claimed, verify_against
from signerd.adapters.store.verification.verify_log import ISSUED, ReadLog
from signerd.adapters.tiles import TilesFolder
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.note import Checkpoint, NoteError, VerifierKey
from signerd.core.state.values import StateError
from signerd.core.tiles import WIDTH, bundle_path, parse_bundle
from signerd.errors import ConfigError

_AT_ONCE = 64  # bundles in one transaction
_NAMED = 20  # missing parts in an error
_MAX_BUNDLE = WIDTH * (65_535 + 2)  # bytes (C2SP tlog-tiles)

_ADD_ENTRY = Prepared(insert(entries), ("entry_index", "leaf_hash", "data"))
_ENTRY = Prepared(select(entries.c.data).where(entries.c.entry_index == bindparam("index")))
Say = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A new database: so many entries, and so many of them of certificates."""

    entries: int
    boards: int


@dataclass(frozen=True, slots=True)
class CopyOfLog:
    """A folder of tiles, with what its checkpoint says."""

    folder: TilesFolder
    note: bytes
    checkpoint: Checkpoint

    @classmethod
    def read(cls, path: Path) -> CopyOfLog:
        """Raises ConfigError: there is no checkpoint."""
        folder = TilesFolder(path)
        try:
            note = folder.note()
        except OSError as error:
            raise unreadable(path, error) from error
        if note is None:
            raise ConfigError(f"{path} is no copy of the log: there is no file `checkpoint` in it")
        return cls(folder, note, claimed(note, f"{path}/checkpoint"))

    def bundles(self) -> Iterator[Sequence[bytes]]:
        """All entries, a bundle at a time. Raises ConfigError: one is missing or damaged."""
        size = self.checkpoint.size
        for start in range(0, size, WIDTH):
            width = min(WIDTH, size - start)
            path = self.folder.path / bundle_path(start // WIDTH, width)
            whole = self.folder.path / bundle_path(start // WIDTH)  # where a later tree has it
            try:
                with (path if path.exists() else whole).open("rb") as file:
                    yield parse_bundle(file.read(_MAX_BUNDLE + 1))[:width]
            except OSError as error:
                raise unreadable(path, error) from error
            except ValueError as error:
                raise ConfigError(f"the tile {path} is damaged: {error}") from error


def rebuild_database(
    copy: CopyOfLog, before: Sequence[str], new: Path, first: VerifierKey, published: Checkpoint, say: Say
) -> Rebuilt:
    """Makes the database.

    Args:
        copy: of the log.
        before: URLs of databases of before, the one that is asked first, first.
        new: the file. It must not be there.
        first: the log's first verifier key, of the settings.
        published: what the second place says. The copy must reach it.
        say: is told of each step.

    Raises:
        ConfigError: the copy is damaged, not signed, or behind; something is in no database of before; or the
            result is not what the ledger says. There is no new file then.
    """
    for name in (new.name, f"{new.name}-wal", f"{new.name}-shm"):  # SQLite would take a WAL file for its own
        if new.with_name(name).exists():
            raise ConfigError(f"{new.with_name(name)} exists, and is not written over: name a new place")
    if published.size > copy.checkpoint.size:
        raise ConfigError(
            f"the copy of the log has {copy.checkpoint.size} entries, and {published.size} were published:"
            " take a newer copy"
        )
    part = new.with_name(f"{new.name}.rebuilding")
    _remove(part)
    url = f"sqlite:///{part}"
    create_database(url)
    try:
        rebuilt = _fill(copy, before, url, first, published, say)
        with _opened(url) as connection:
            # A crash before this one's end leaves a part, as before it.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
        _demand_right(url, copy.note, first, say)
        _demand_no_wal(part)
        # A crash before this one leaves the part. After it the new database is there, whole; whether a power
        # cut brings its old name back is for whoever moves it to see.
        part.rename(new)
        durable_files.sync_directory(new.parent)
    except BaseException:
        _remove(part)
        raise
    for suffix in ("-wal", "-shm"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)
    return rebuilt


def _demand_no_wal(part: Path) -> None:
    """All of it is in the one file that gets the new name."""
    wal = part.with_name(f"{part.name}-wal")
    if wal.exists() and wal.stat().st_size:
        raise ConfigError(f"{wal} is not empty: another process has {part} open. Give the command again")


def _demand_right(url: str, note: bytes, first: VerifierKey, say: Say) -> None:
    found = verify_against(url, note, first, say).found
    if found.total:
        raise ConfigError(
            f"the result is not what the ledger says, first {found.findings[0]}: take other databases"
            " (--parts)"
        )


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


@contextmanager
def _opened(url: str) -> Iterator[Connection]:
    """Outside a transaction."""
    engine = make_engine(url, "snapshot")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _fill(
    copy: CopyOfLog, before: Sequence[str], url: str, first: VerifierKey, published: Checkpoint, say: Say
) -> Rebuilt:
    missing: list[str] = []
    engine = make_engine(url, "write")
    try:
        with ExitStack() as stack:
            parts = Parts([stack.enter_context(_reading(each)) for each in before])
            connection = stack.enter_context(engine.connect())
            log = _entries(connection, copy, first, published, say)
            for write in (write_administration, write_lists):
                with connection.begin():
                    write(connection, log, partial(_said, connection), parts, missing.append)
                _demand_whole(missing)
            _boards(connection, log, Boards(parts, missing.append, log.state.issuers), say)
            _demand_whole(missing)
    except SQLAlchemyError as error:
        raise start_fault("cannot rebuild the database", error) from error
    finally:
        engine.dispose()
    return Rebuilt(log.size, log.kinds.count(ISSUED))


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    check_database(url)
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _demand_whole(missing: Sequence[str]) -> None:
    if missing:
        named = "\n".join(missing[:_NAMED])
        raise ConfigError(
            f"{len(missing)} parts are in none of these databases:\n{named}\ntake more of them (--parts): a"
            " restored backup, for example"
        )


def _entries(
    connection: Connection, copy: CopyOfLog, first: VerifierKey, published: Checkpoint, say: Say
) -> ReadLog:
    """All entries and the head, and the log that they are. Raises ConfigError: it is not the signed one."""
    log, frontier = ReadLog(), Frontier()
    bundles, at_published = copy.bundles(), frontier.root()
    more = True
    while more:
        with connection.begin():
            for _ in range(_AT_ONCE):
                bundle = next(bundles, None)
                if bundle is None:
                    more = False
                    break
                for data in bundle:
                    _entry(connection, log, frontier, data)
                    if log.size == published.size:
                        at_published = frontier.root()
        say(Step(entries.name, log.size, copy.checkpoint.size))
    _demand_signed(copy, first, log, frontier)
    _demand_same(at_published, published)
    with connection.begin():
        row = {"id": 1, "size": log.size, "root": frontier.root(), "epoch": log.state.epoch}
        connection.execute(insert(head), row)
    return log


def _demand_same(at_published: bytes, published: Checkpoint) -> None:
    if at_published != published.root:
        raise ConfigError(
            f"the copy of the log does not continue what was published at size {published.size}: see"
            ' docs/operations.md, "Two histories of one log"'
        )


def _entry(connection: Connection, log: ReadLog, frontier: Frontier, data: bytes) -> None:
    leaf = leaf_hash(data)
    frontier.append(leaf)
    _ADD_ENTRY.run(connection, {"entry_index": log.size, "leaf_hash": leaf, "data": data})
    try:
        log.add(data)
    except (StateError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the copy of the log, entry {log.size}: {error}") from error


def _demand_signed(copy: CopyOfLog, first: VerifierKey, log: ReadLog, frontier: Frontier) -> None:
    keys, said = log.state.log_keys, copy.checkpoint
    if keys is None or keys.keys[0].verifier != first:
        raise ConfigError("the copy is another log's: its first entry names another key than ledger.vkey")
    if (log.size, frontier.root()) != (said.size, said.root):
        raise ConfigError(
            f"the copy of the log has other entries than its checkpoint says, or {log.size} of {said.size}"
        )
    try:
        keys.open(copy.note)
    except NoteError as error:
        raise ConfigError(f"the log's keys did not sign the checkpoint of the copy: {error}") from error


def _boards(connection: Connection, log: ReadLog, boards: Boards, say: Say) -> None:
    """In transactions of their own: a crash leaves a part."""
    step = _AT_ONCE * WIDTH
    for start in range(0, log.size, step):
        with connection.begin():
            for index in range(start, min(start + step, log.size)):
                boards.add(connection, index, _data(connection, index))
        say(Step("boards", min(start + step, log.size), log.size))


def _data(connection: Connection, index: int) -> bytes:
    data: bytes = _ENTRY.row(connection, {"index": index}).data
    return data


def _said(connection: Connection, index: int) -> Mapping[str, Any]:
    said: Mapping[str, Any] = json.loads(_data(connection, index))
    return said
