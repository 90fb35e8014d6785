"""`signerd backup` and `signerd restore`: an installation's files and its database, without its second place.

A backup is checked when it is made and when it is restored: its ledger has to give the head that the
database says, and to continue the checkpoint in the second place.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import BaseModel

from signerd.adapters import backup_archive, durable_files
from signerd.adapters.backup_archive import DATABASE, MADE_FORM, SETTINGS, About, Member, member_of
from signerd.adapters.contradiction_file import compare_with_contradiction
from signerd.adapters.head_file import HeadFile, PlaceOfBefore, load_vkey, read_second_place
from signerd.adapters.store import compare_database, known_log_keys, note_restored, sqlite_file
from signerd.config import Config, database_url, load
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import EMPTY_ROOT
from signerd.core.note import Checkpoint, NoteError, VerifierKey
from signerd.core.seen_checkpoint import counting_keys, open_seen
from signerd.errors import ConfigError
from signerd.program import program_version

_FOLDERS = ("ca", "operations", "checkpoint-keys")  # that commands fill
_PART = 1024 * 1024  # bytes at once


def back_up(settings: Path, stream: IO[bytes]) -> tuple[About, list[Path]]:
    """Writes a backup beside a running signerd; returns what is in it, and the settings' files that are not.

    The copy of the database is made at one moment, in a folder beside the settings, or in TMPDIR.
    A crash leaves that folder (`.backup-…`), and an archive that `restore` refuses.

    Raises:
        ConfigError: the database is not SQLite's, damaged, or behind the second place.
        OSError: something cannot be read or written.
    """
    config, base = load(settings), settings.resolve().parent
    database = sqlite_file(database_url(config, base))
    if database is None:
        raise ConfigError("database.url: only SQLite is backed up here; take the database's own tool")
    key = load_vkey(config.ledger.vkey)
    url = database_url(config, base)
    # Before the copy, which then has to reach it.
    published = read_second_place(config.ledger.head, lambda: known_log_keys(url, key))
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=_room(base)) as folder:
        copy = Path(folder) / "signerd.sqlite"
        _copy_database(database, copy)
        found = compare_database(f"sqlite:///{copy}", published)
        inside, outside = _files(settings, config, base)
        sources = {DATABASE: copy, **inside}
        about = About(
            made=f"{datetime.now(UTC):{MADE_FORM}}",
            signerd=program_version(),
            origin=key.name,
            ledger_size=found.size,
            ledger_root=found.root().hex(),
            files=tuple(member_of(name, path) for name, path in sources.items()),
        )
        backup_archive.write(stream, about, sources)
    return about, outside


def _room(base: Path) -> str | None:
    """A folder that nobody else reads: the settings', if this process may write there."""
    return str(base) if "TMPDIR" not in os.environ and os.access(base, os.W_OK) else None


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own copy: one reading transaction, so that neither waits for the other."""
    durable_files.write_new(target, b"", 0o600)
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            (found,) = new.execute("PRAGMA quick_check(1)").fetchone()
            new.execute("PRAGMA journal_mode = DELETE")  # one file, and nothing beside it
    except sqlite3.Error as error:
        raise ConfigError(f"cannot copy the database {source}: {error}") from error
    if found != "ok":
        raise ConfigError(f"the database {source} is damaged: {found}")


def _files(settings: Path, config: Config, base: Path) -> tuple[dict[str, Path], list[Path]]:
    """What the settings name and `signerd init` made, by name; and what lies elsewhere."""
    inside, outside = {SETTINGS: settings}, []
    tokens = (config.hsm, *(issuer.hsm for issuer in config.issuers), *config.checkpoint_keys)
    modules = {token.module for token in tokens if token is not None}
    excepted = {config.ledger.head, config.admin.socket, config.server.port_file, *modules}
    made = [path for folder in _FOLDERS for path in sorted((base / folder).glob("*"))]
    for path in [*_paths(config), *made]:
        if path in excepted or not path.is_file():
            continue
        if path.resolve().is_relative_to(base):
            inside[str(path.resolve().relative_to(base))] = path
        else:
            outside.append(path)
    return inside, sorted(set(outside))


def _paths(section: BaseModel) -> Iterator[Path]:
    for _, value in section:
        if isinstance(value, BaseModel):
            yield from _paths(value)
        elif isinstance(value, Path):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (item for item in value if isinstance(item, Path))
            yield from (path for item in value if isinstance(item, BaseModel) for path in _paths(item))


def restore(
    stream: IO[bytes], directory: Path, checkpoint: bytes | None, *, to_succeed: bool = False
) -> tuple[About, Path]:
    """Puts a backup into an empty directory, and its database where the settings say; returns the settings.

    Order of writes, and what a crash after each means: the installation counts once `signerd.toml` has its
    name, which comes last. Before it, files lie in the directory and perhaps database and second place in
    theirs: remove them and run the command again. Whatever else ends it takes away what it wrote.

    Args:
        checkpoint: a signed note; it becomes the second place where that is lost.
        to_succeed: the backup is behind what was published, and a successor of its log is to go on.

    Raises:
        ConfigError: the backup is damaged, or behind what was published; a place is taken; the second place
            is missing and no checkpoint is given, or it is there and one is given.
        OSError: something cannot be written.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty: a backup is restored into an empty directory")
    with _taken_away_on_error() as written:
        return _restored(stream, directory, checkpoint, written, to_succeed=to_succeed)


def _restored(
    stream: IO[bytes], directory: Path, checkpoint: bytes | None, written: list[Path], *, to_succeed: bool
) -> tuple[About, Path]:
    settings = directory / SETTINGS
    waiting = {
        SETTINGS: settings.with_name(f".{SETTINGS}.restored"),
        DATABASE: directory / ".database.restored",
    }

    def put(member: Member, content: IO[bytes]) -> None:
        path = waiting.get(member.name, directory / member.name)
        for parent in reversed(path.relative_to(directory).parents[:-1]):
            _make(directory / parent, written)
        _write(path, member.mode, content)
        written.append(path)

    about = backup_archive.read(stream, lambda _about: put)
    config = load(waiting[SETTINGS])
    database = sqlite_file(database_url(config, directory))
    if database is None:
        raise ConfigError("the backup's settings name no SQLite database")
    keys = known_log_keys(f"sqlite:///{waiting[DATABASE]}", load_vkey(config.ledger.vkey))
    for place in (config.admin.socket.parent, config.ledger.head.parent):
        if place.is_relative_to(directory):
            _make(place, written)
    named = (load_vkey(config.ledger.vkey), *(load_vkey(each.vkey) for each in config.checkpoint_keys))
    counting = counting_keys(keys, named) if to_succeed else ()
    _prepare_second_place(config.ledger.head, checkpoint, keys, counting, written)
    with closing(_held(config.ledger.head, keys, to_succeed=to_succeed)) as second_place:
        published = second_place.checkpoint if isinstance(second_place, HeadFile) else None
        tree = compare_database(
            f"sqlite:///{waiting[DATABASE]}", published or Checkpoint(keys.origin, 0, EMPTY_ROOT)
        )
        if not to_succeed:
            compare_with_contradiction(config.ledger.head, keys, tree)
        note_restored(f"sqlite:///{waiting[DATABASE]}", about.moment, tree.size)
        _move_database(waiting[DATABASE], database, written)
    waiting[SETTINGS].rename(settings)
    written.append(settings)
    durable_files.sync_directory(directory)
    return about, settings


def _write(path: Path, mode: int, content: IO[bytes]) -> None:
    with durable_files.new_file(path, mode) as file:
        shutil.copyfileobj(content, file, _PART)


def _make(directory: Path, written: list[Path]) -> None:
    if not directory.is_dir():
        directory.mkdir(mode=0o700)
        written.append(directory)


def _held(path: Path, keys: LogKeys, *, to_succeed: bool) -> HeadFile | PlaceOfBefore:
    """Nobody else has the second place meanwhile. What a succession is to name is not compared here."""
    return PlaceOfBefore(path) if to_succeed else HeadFile(path, keys)


def _prepare_second_place(
    path: Path,
    checkpoint: bytes | None,
    keys: LogKeys,
    counting: tuple[VerifierKey, ...],
    written: list[Path],
) -> None:
    lock = path.with_name(path.name + ".lock")
    if not lock.exists():
        written.append(lock)
    if path.exists():
        if checkpoint is not None:
            raise ConfigError(f"the second place {path} is there: leave out --checkpoint")
        return
    if checkpoint is None:
        raise ConfigError(
            f"the second place {path} is not there: mount it, or where it is lost, give the newest checkpoint"
            ' that anybody kept with --checkpoint (docs/operations.md, "The second place is lost")'
        )
    try:
        if counting:  # of the part that is lost, whose keys the backup may not know
            open_seen(checkpoint, counting)
        else:
            keys.open(checkpoint)
    except NoteError as error:
        raise ConfigError(f"--checkpoint is no checkpoint of the log {keys.origin}: {error}") from error
    durable_files.write_new(path, checkpoint, 0o600)
    written.append(path)


def _move_database(waiting: Path, database: Path, written: list[Path]) -> None:
    if not database.parent.is_dir():
        raise ConfigError(f"there is no folder {database.parent} for the database: make it, signerd's own")
    if any(database.with_name(database.name + end).exists() for end in ("", "-wal", "-shm")):
        raise ConfigError(
            f"there is a database {database}: move it away, with its -wal and -shm, and keep it"
        )
    if waiting.stat().st_dev == database.parent.stat().st_dev:
        waiting.rename(database)
        written.append(database)
    else:
        with waiting.open("rb") as content:
            _write(database, 0o600, content)
        written.append(database)
        waiting.unlink()
    durable_files.sync_directory(database.parent)


@contextmanager
def _taken_away_on_error() -> Iterator[list[Path]]:
    written: list[Path] = []
    try:
        yield written
    except BaseException:  # also an interrupted command leaves no keys behind
        for path in reversed(written):
            with suppress(OSError):  # the error that is under way says more
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
        raise
