"""The ledger at start: its tree, from the tiles where they are right, else from the entries in the database.

What the tiles say counts because of the signed checkpoint beside them. Entries beyond it are hashed anew from
their data, and have to give the root in the second place and the head in the database. Tiles that are missing
or damaged are written anew; that reads all entries, and says how far it is.

Before this returns, the tiles are those of the checkpoint in the second place. Where witnesses have to cosign
what is published, the folder's own checkpoint stays as it is: signerd writes the newer one once they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, select

from signerd.adapters.head_file import HeadFile
from signerd.adapters.start_faults import from_system
from signerd.adapters.store.log.logged_entries import LoggedEntries
from signerd.adapters.store.log.reading_progress import say_read
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.schema import entries, head
from signerd.adapters.tiles import Counts, Publication, TilesBucket, TilesFolder, write_bucket_anew
from signerd.adapters.tiles.publication import AT_ONCE
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import Frontier, Tree, leaf_hash
from signerd.core.note import Checkpoint, NoteError, parse_checkpoint
from signerd.core.succession import number_of
from signerd.errors import ConfigError, Fault

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """Of all that is committed."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class ReadLedger:
    """A ledger in a database that nobody writes to meanwhile; its tree is nowhere."""

    url: str
    head: LedgerHead

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.head.size

    def root(self, size: int | None = None) -> bytes:
        """Of all entries, or of the first ones, which are then read again. Raises ConfigError."""
        if size is None or size == self.size:
            return self.head.root
        frontier = Frontier()
        with reading_database(self.url, "cannot read the ledger") as connection:
            for leaf in _leaf_hashes(connection, 0, size):
                frontier.append(leaf)
        return frontier.root()


def compare_database(url: str, published: Checkpoint) -> ReadLedger:
    """What is in a database of any schema, once its entries are known to continue what was published.

    Raises:
        ConfigError: it is damaged, or does not.
    """
    with reading_database(url, "cannot read the ledger") as connection:
        return ReadLedger(url, _verified(connection, published, Frontier()))


def start_tree(
    url: str, folder: TilesFolder, second_place: HeadFile, keys: LogKeys, *, cosigned: bool = False
) -> Tree:
    """The ledger's tree, whose full tiles are in the folder. `cosigned`: what is published has to be, and the
    note in the second place is not.

    Raises:
        ConfigError: the database is damaged or behind the second place, the folder holds something else or
            cannot be written.
    """
    published = second_place.checkpoint
    try:
        folder.make()
        note = folder.note()
        tree = Tree(folder) if note is None else _tree_of_tiles(folder, note, published, keys)
        with reading_database(url, "cannot read the ledger") as connection:
            found = _compared(connection, published, tree, folder.path)
            anew = tree.size == 0 and published.size > 0
            if anew:
                _log.warning("tiles_are_written_anew", folder=str(folder.path), entries=published.size)
            copies = Publication(folder, tree, _entries(url, tree), tree.size, anew=anew)
            _extend(connection, tree, found.size, copies, published)
        if published.size and (anew or note != second_place.note):
            _put(copies, published, second_place.note, cosigned=cosigned)
    except OSError as error:
        raise from_system(f"the log's tiles: {error.filename}: {error.strerror}", error) from error
    except Fault as error:
        raise ConfigError(f"the log's tiles: {error.detail}") from error
    return tree


def _put(copies: Publication, published: Checkpoint, note: bytes, *, cosigned: bool) -> None:
    if cosigned:
        copies.complete(published)
    else:
        copies.publish(published, note)


def write_tiles_anew(
    url: str, folder: TilesFolder, second_place: HeadFile, *, cosigned: bool = False
) -> Counts:
    """Holds all tiles of the published log against the database, and writes those that differ. Nobody else
    may write meanwhile: the caller has the second place. `cosigned`: see `start_tree`.

    Raises:
        ConfigError: the database is damaged or behind the second place.
        OSError: the folder cannot be written.
    """
    published, tree = second_place.checkpoint, Tree(folder)
    folder.make()
    with reading_database(url, "cannot read the ledger") as connection:
        _verified(connection, published, Frontier())
        copies = Publication(folder, tree, _entries(url, tree), 0, anew=True)
        _extend(connection, tree, published.size, copies, published)
    if published.size:
        _put(copies, published, second_place.note, cosigned=cosigned)
        copies.mend_partials()
    return copies.counts


def write_tiles_to_bucket(
    url: str,
    folder: TilesFolder,
    bucket: TilesBucket,
    second_place: HeadFile,
    keys: LogKeys,
    *,
    cosigned: bool = False,
) -> Counts:
    """Holds all objects of the bucket against the log, whose folder is known to be right, and writes those
    that differ. As `write_tiles_anew` else.

    Raises:
        Unavailable, Fault: the bucket does not answer, or has a checkpoint of another log or history.
        OSError: the folder cannot be read.
    """
    published = second_place.checkpoint
    if not published.size:
        return Counts()
    tree = Tree.at(published.size, folder.edges(published.size), folder)
    return write_bucket_anew(
        bucket, tree, _entries(url, tree), keys, published, second_place.note, cosigned=cosigned
    )


def _tree_of_tiles(folder: TilesFolder, note: bytes, published: Checkpoint, keys: LogKeys) -> Tree:
    """As the checkpoint in the folder has it; the empty one where they do not bear it out."""
    try:
        said = keys.open(note)
    except NoteError as error:
        _demand_ours(folder, note, keys, published)
        return _useless(folder, f"checkpoint: {error}")
    if said.size > published.size:
        raise ConfigError(
            f"the tiles in {folder.path} have a signed checkpoint over {said.size} entries, and the second"
            f" place one over {published.size}: the second place went back. See docs/operations.md,"
            ' "The second place is lost"'
        )
    missing = folder.missing(said.size)
    if missing is not None:
        return _useless(folder, f"{missing} is not there")
    try:
        tree = Tree.at(said.size, folder.edges(said.size), folder)
    except FileNotFoundError as error:
        return _useless(folder, f"{error.filename} is not there")
    except ValueError as error:
        return _useless(folder, str(error))
    return tree if tree.root() == said.root else _useless(folder, "they do not give the checkpoint's root")


def _useless(folder: TilesFolder, why: str) -> Tree:
    _log.warning("tiles_do_not_hold", folder=str(folder.path), why=why)
    return Tree(folder)


def _demand_ours(folder: TilesFolder, note: bytes, keys: LogKeys, published: Checkpoint) -> None:
    try:
        said = parse_checkpoint(note.partition(b"\n\n")[0] + b"\n")
    except NoteError:
        return
    origin = keys.origin_at(published.size)
    if number_of(said.origin, keys.origin) not in (None, keys.number):
        raise ConfigError(
            f"the tiles in {folder.path} are those of {said.origin}, and the log is {origin} by now: give"
            " `signerd ledger succeed` again, which moves the folder away, or move it away"
        )
    if said.origin != origin:
        raise ConfigError(
            f"the tiles in {folder.path} are those of the log {said.origin}, and this one is {origin}: name"
            " another folder in publication.folder"
        )


def _compared(connection: Connection, published: Checkpoint, tree: Tree, folder: Path) -> LedgerHead:
    try:
        return _verified(connection, published, Frontier(tree))
    except ConfigError:
        if tree.size == 0:
            raise
        _verified(connection, published, Frontier())  # says of most what is wrong with the database
        raise ConfigError(
            f"the tiles in {folder} have a signed checkpoint over {tree.size} entries that are not those of"
            " the database: two histories of one log were signed. See docs/operations.md,"
            ' "Two histories of one log"'
        ) from None


def _verified(connection: Connection, published: Checkpoint, frontier: Frontier) -> LedgerHead:
    """Holds the entries after those of `frontier` against the second place and the database's own head."""
    found = connection.execute(select(head.c.size, head.c.root)).one_or_none()
    if found is None:
        raise ConfigError("the database holds no ledger: `signerd init` opens one")
    if published.size > found.size:
        raise ConfigError(
            f"the database has {found.size} ledger entries, but a checkpoint over {published.size} was"
            " published: a restored backup? See docs/operations.md"
        )
    at_published = frontier.root()
    for leaf in _leaf_hashes(connection, frontier.size, found.size):
        frontier.append(leaf)
        if frontier.size == published.size:
            at_published = frontier.root()
    if published.size and at_published != published.root:
        raise ConfigError(
            f"the database's ledger is not the one that was published at size {published.size}:"
            " a restored backup, or another installation's? See docs/operations.md"
        )
    beyond = select(entries.c.entry_index).where(entries.c.entry_index >= found.size).limit(1)
    more = connection.execute(beyond).one_or_none() is not None
    if more or (frontier.size, frontier.root()) != (found.size, found.root):
        raise ConfigError(
            "the ledger's entries do not give the head in the database: the database is damaged"
        )
    return LedgerHead(found.size, found.root)


def _extend(
    connection: Connection, tree: Tree, size: int, copies: Publication, published: Checkpoint
) -> None:
    """Appends entries up to this size; full tiles go to the folder on the way, so that memory stays small."""
    for leaf in _leaf_hashes(connection, tree.size, size):
        tree.append(leaf)
        if tree.size % AT_ONCE == 0 and tree.size <= published.size:
            copies.advance(tree.size)


def _leaf_hashes(connection: Connection, start: int, end: int) -> Iterator[bytes]:
    """Of the entries start…end, each hashed from its data, up to one that is missing or no bytes."""
    index = entries.c.entry_index
    asked = select(index, entries.c.data).where(index >= start, index < end).order_by(index)
    rows = connection.execution_options(yield_per=1_000).execute(asked)
    for expected, (found, data) in enumerate(rows, start):
        if found != expected or not isinstance(data, bytes):
            return
        say_read("ledger_read", found - start + 1, end - start)
        yield leaf_hash(data)


def _entries(url: str, tree: Tree) -> Callable[[int, int], list[bytes]]:
    return LoggedEntries(url, tree, lambda _index: None).read
