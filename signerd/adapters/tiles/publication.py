"""Writing tiles: those that a newer checkpoint has, then the checkpoint.

Order of writes, and what a crash after each means:
  1. a tile or bundle under a temporary name: nobody reads it;
  2. under its own name: it is beyond the checkpoint that readers see. It is of a tree that was signed, so the
     next start writes the same bytes, and holds these against them. That start does not know at which sizes
     between checkpoints were signed, and writes the partial tiles of all of them;
  3. the checkpoint: readers see the larger tree, all of whose tiles are there. It comes at another time where
     witnesses cosign it first, and a crash before it leaves readers the smaller one;
     The same checkpoint comes once more with each cosignature that is late. A crash before it leaves readers
     the same tree with fewer of them; a start that goes on from there asks the witnesses again;
  4. partial tiles removed: the full one, which has what they had, is there. Some may be left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from signerd.adapters.tiles.place import TilesPlace
from signerd.core.merkle import HASH_SIZE, Tree
from signerd.core.note import Checkpoint
from signerd.core.tiles import (
    HEIGHT,
    WIDTH,
    TileId,
    bundle,
    bundle_path,
    edge,
    is_full,
    new_tiles,
    partials_between,
    partials_folder,
    tile_path,
)
from signerd.errors import Fault

AT_ONCE = 4_096  # entries that are read and written before their tiles are released; a multiple of WIDTH

Entries = Callable[[int, int], Sequence[bytes]]  # the entries start…end, as they were logged


@dataclass(slots=True)
class Counts:
    """Of files."""

    written: int = 0  # because they were not there, or differed
    right: int = 0  # there already


class Publication:
    """What a place has of the log. Its calls run in a thread, one at a time."""

    def __init__(
        self,
        place: TilesPlace,
        tree: Tree,
        entries: Entries,
        size: int,
        *,
        anew: bool = False,
        releases: bool = True,
    ) -> None:
        """`size`: of the tree all of whose tiles are there. `anew`: those that differ are written over.
        `releases`: the tree reads them from there, and keeps them no longer."""
        self._place = place
        self._tree = tree
        self._entries = entries
        self._anew = anew
        self._releases = releases
        self._dropped = False  # what an earlier run left
        self._full = size - size % WIDTH  # entries whose full tiles are there
        self.size = size  # of the tree all of whose tiles are there
        self.counts = Counts()

    def advance(self, size: int) -> None:
        """Writes the full tiles of a tree of this size, without its checkpoint, and releases them.

        Raises:
            Fault: one that is there differs.
            OSError, Fault: one cannot be written.
        """
        size -= size % WIDTH
        while self._full < size:
            step = min(size, self._full + AT_ONCE)
            for start in range(self._full, step, WIDTH):
                self._put(bundle_path(start // WIDTH), bundle(self._entries(start, start + WIDTH)))
            for tile in new_tiles(self._full, step):
                if tile.width == WIDTH:
                    self._put(tile.path, self._tree.tile(tile))
            if self._releases:
                self._tree.release(step)
            self._full = step

    def publish(self, checkpoint: Checkpoint, note: bytes, signed: Iterable[int] | None = None) -> None:
        """Writes what the tree of this checkpoint has more, then the checkpoint.

        `signed`: the sizes between for which a checkpoint was signed as well; None: nobody knows, and any may
        have been. Their partial tiles are written too (C2SP tlog-tiles, "Partial Tiles"), unless the full one
        is there. Raises as `advance`.
        """
        self._write(checkpoint, signed)
        self._place.put_checkpoint(note)
        before, self.size = self.size, checkpoint.size
        self._drop_partials(before, checkpoint.size)

    def complete(self, checkpoint: Checkpoint) -> None:
        """As `publish`, and leaves readers the checkpoint that they have, with its partial tiles."""
        self._write(checkpoint, None)
        self.size = checkpoint.size

    def _write(self, checkpoint: Checkpoint, signed: Iterable[int] | None) -> None:
        size = checkpoint.size
        if self._tree.root(size) != checkpoint.root:
            raise Fault(f"the log has another root at size {size} than the checkpoint: no tile is written")
        self.advance(size)
        entries: Sequence[bytes] = ()
        for tile in self._partials(size, signed):
            if tile.level == 0:
                entries = entries or self._entries(size - size % WIDTH, size)
                self._put(bundle_path(tile.index, tile.width), bundle(entries[: tile.width]))
            self._put(tile.path, self._tree.tile(tile))

    def _partials(self, size: int, signed: Iterable[int] | None) -> Iterator[TileId]:
        """Those that are to be there with this tree, and are not; narrow ones first."""
        there = set(edge(self.size))
        if signed is None:
            wanted = partials_between(self.size, size)
        else:
            wanted = (tile for each in (*signed, size) for tile in edge(each) if not is_full(tile, size))
        yield from (tile for tile in dict.fromkeys(wanted) if tile not in there)

    def mend_partials(self) -> None:
        """Holds the partial tiles of smaller sizes against the log, as they lie beside the ones of this size.
        Raises OSError."""
        for tile in edge(self.size):
            hashes = self._tree.tile(tile)
            self._mend(tile_path(tile.level, tile.index), tile.width, partial(_cut, hashes))
        if width := self.size % WIDTH:
            entries = self._entries(self.size - width, self.size)
            self._mend(bundle_path(self.size // WIDTH), width, lambda count: bundle(entries[:count]))

    def _mend(self, path: str, width: int, cut: Callable[[int], bytes]) -> None:
        for smaller in self._place.partials(path):
            if smaller > width:  # of a checkpoint that never came
                self._place.drop_partial(path, smaller)
            else:
                self._put(f"{partials_folder(path)}/{smaller}", cut(smaller))

    def _put(self, path: str, data: bytes) -> None:
        if self._place.put(path, data, anew=self._anew):
            self.counts.written += 1
        else:
            self.counts.right += 1

    def _drop_partials(self, before: int, size: int) -> None:
        """Of each tile that is full, and whose next one is. Until then, whoever began to read at a smaller
        checkpoint finds the partial ones."""
        if before // WIDTH == size // WIDTH and self._dropped:
            return
        self._dropped = True
        if not (before or self._releases):  # the bucket's first tiles: a request for each, and nothing there
            return
        level = 0
        while full := (size >> (HEIGHT * level)) // WIDTH:
            # Beginning early enough for what a crash left.
            for index in range(max(0, (before >> (HEIGHT * level)) // WIDTH - 2), full - 1):
                self._place.drop_partials(tile_path(level, index))
                if level == 0:
                    self._place.drop_partials(bundle_path(index))
            level += 1


def _cut(hashes: bytes, width: int) -> bytes:
    return hashes[: width * HASH_SIZE]
