"""The ledger's Merkle tree: RFC 6962 §2.1 over SHA-256.

Guarantees that `root`, `inclusion` and `consistency` at a size depend on the first `size` leaves alone,
and cost O(log size) hashes at any size.

The tree keeps its right edge in memory: the tile of each level that is not full, at most 16 KiB a level.
Full tiles stay until they are `released`, because they are stored. From then on they are read when a proof
wants them, and a bounded number is kept. Each tile that is read is held against the hash that the level above
has of it. So a proof follows from the right edge, whatever lies in the store of tiles.

Proofs at a committed size may be read by other threads while one appends, or takes back later leaves, since
neither touches a node that is complete at the committed size.

    tree = Tree()
    tree.append(leaf_hash(b"first"))
    tree.root()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from signerd.core.tiles import HEIGHT, WIDTH, TileId, edge
from signerd.core.tree_tiles import EMPTY_ROOT, HASH_SIZE, KeptTiles, Tile, leaf_hash, node_hash

TILES_KEPT = 256  # tiles read from the store that are kept, 16 KiB each

__all__ = ["EMPTY_ROOT", "HASH_SIZE", "Frontier", "StoredTiles", "Tree", "leaf_hash", "node_hash"]


class StoredTiles(Protocol):
    """Where full tiles are once they are released."""

    def read(self, tile: TileId) -> bytes:
        """Its hashes, one after the other. Raises Fault."""

    def differs(self, tile: TileId) -> Exception:
        """The error that says that it is not a tile of this tree."""


class Frontier:
    """The root of leaves that come one after the other, and nothing else of their tree."""

    __slots__ = ("_nodes", "size")

    def __init__(self, tree: Tree | None = None) -> None:
        """Goes on after the leaves of `tree`."""
        self.size = 0 if tree is None else tree.size
        self._nodes = [] if tree is None else tree.nodes(self.size)

    @classmethod
    def at(cls, size: int, nodes: Sequence[bytes]) -> Frontier:
        """Goes on after `size` leaves, whose complete subtrees these are, the largest first. The caller holds
        the root against one that is known."""
        frontier = cls()
        frontier.size, frontier._nodes = size, list(nodes)
        return frontier

    def append(self, leaf: bytes) -> None:
        """Adds one leaf, given as its `leaf_hash`."""
        index, node = self.size, leaf
        while index & 1:
            node = node_hash(self._nodes.pop(), node)
            index >>= 1
        self._nodes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Of all leaves."""
        return _joined(self._nodes)

    def nodes(self) -> list[bytes]:
        """The complete subtrees of all leaves, the largest first: what `at` goes on from."""
        return list(self._nodes)

    def next_inclusion(self) -> list[bytes]:
        """The proof of the leaf that is appended next, in the tree that ends with it (RFC 6962 §2.1.1)."""
        return self._nodes[::-1]


class Tree:
    """An append-only tree; `truncate` takes back what was not committed."""

    def __init__(self, stored: StoredTiles | None = None, *, kept: int = TILES_KEPT) -> None:
        """`stored`: where released tiles are; None where none is released."""
        self._size = 0
        self._released = 0  # full tiles of the first so many leaves are in the store
        self._stored = stored
        self._held: dict[tuple[int, int], Tile] = {}
        self._read = KeptTiles(kept)

    @classmethod
    def at(cls, size: int, edges: Mapping[TileId, bytes], stored: StoredTiles) -> Tree:
        """A tree of that size, whose full tiles are in the store. The caller holds its root against one that
        is known.

        Raises:
            ValueError: the edges are not those of a tree of this size.
        """
        tree = cls(stored)
        for tile in edge(size):
            hashes = edges.get(tile, b"")
            if len(hashes) != tile.width * HASH_SIZE:
                raise ValueError(f"a tile of {tile.width} hashes has {len(hashes)} bytes")
            tree._held[tile.level, tile.index] = Tile.of(hashes)
        tree._size = tree._released = size
        return tree

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Adds one leaf, given as its `leaf_hash`."""
        if len(leaf) != HASH_SIZE:
            raise ValueError("a leaf hash has 32 bytes")
        level, index, node = 0, self._size, leaf
        while True:
            key = (level, index // WIDTH)
            tile = self._held.get(key)
            if tile is None:
                tile = self._held[key] = Tile()
            tile.append(node)
            if (index + 1) % WIDTH:
                break
            level, index, node = level + 1, index // WIDTH, tile.node(HEIGHT, 0)
        self._size += 1

    def truncate(self, size: int) -> None:
        """Goes back to the first `size` leaves, none of which is released beyond them."""
        if not self._released <= size <= self._size:
            raise ValueError("a tree is truncated to a size it had")
        self._size = size
        for key in list(self._held):
            level, index = key
            width = (size >> (HEIGHT * level)) - index * WIDTH
            if width <= 0:
                del self._held[key]
            elif tile := self._held.get(key):  # else it was full, and is released meanwhile
                tile.cut(width)

    def release(self, size: int) -> None:
        """Says that the tiles that are full in the tree of this size are in the store."""
        self._check(0, size)
        if self._stored is None:
            raise ValueError("beyond the tree: nothing stores its tiles")
        self._released = max(self._released, size)
        for key in list(self._held):
            level, index = key
            if (index + 1) * WIDTH <= size >> (HEIGHT * level):
                self._read.keep(key, self._held[key])  # before it goes: another thread may be looking
                del self._held[key]

    def tile(self, tile: TileId) -> bytes:
        """The hashes of a tile, full or partial."""
        self._check(0, (tile.index * WIDTH + tile.width) << (HEIGHT * tile.level))
        return self._tile(tile.level, tile.index).hashes(tile.width)

    def leaf(self, index: int) -> bytes:
        """The leaf hash at this index."""
        self._check(index + 1, self._size)
        return self._node(0, index)

    def nodes(self, size: int) -> list[bytes]:
        """The complete subtrees that the first `size` leaves are made of, the largest first."""
        self._check(0, size)
        return self._parts(0, size)

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` leaves, of all where None.

        Raises:
            ValueError: the tree is smaller.
        """
        return _joined(self.nodes(self._size if size is None else size))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """PATH(index, D[size]) of RFC 6962 §2.1.1, leaf side first.

        Raises:
            ValueError: unless 0 ≤ index < size ≤ the tree's size.
        """
        self._check(index + 1, size)
        if index < 0:
            raise ValueError("an index is not negative")
        path: list[bytes] = []
        low, count = 0, size
        while count > 1:
            left = _split(count)
            if index - low < left:
                path.append(self._range(low + left, count - left))
                count = left
            else:
                path.append(self._range(low, left))
                low, count = low + left, count - left
        path.reverse()
        return path

    def consistency(self, old: int, new: int) -> list[bytes]:
        """PROOF(old, D[new]) of RFC 6962 §2.1.2; empty where the sizes are equal.

        Raises:
            ValueError: unless 1 ≤ old ≤ new ≤ the tree's size.
        """
        self._check(old, new)
        if old < 1:
            raise ValueError("there is no proof from the empty tree")
        path: list[bytes] = []
        low, count, known = 0, new, True
        while old - low < count:
            left = _split(count)
            if old - low <= left:
                path.append(self._range(low + left, count - left))
                count = left
            else:
                path.append(self._range(low, left))
                low, count, known = low + left, count - left, False
        if not known:  # the old tree's root is not the subtree that the walk ended on: name that one too
            path.append(self._range(low, count))
        path.reverse()
        return path

    def at_hand(self, *leaves: int) -> bool:
        """Whether the paths from these leaves up need no tile from the store.

        A proof of inclusion wants the paths of its leaf and of its tree's last leaf. One of consistency wants
        those of the last leaves of its two trees.
        """
        return all(self._path_at_hand(leaf) for leaf in leaves)

    def _path_at_hand(self, leaf: int) -> bool:
        level, index = 0, leaf // WIDTH
        while index * WIDTH < self._size >> (HEIGHT * level):
            key = (level, index)
            if key not in self._held and key not in self._read:
                return False
            level, index = level + 1, index // WIDTH
        return True

    def _check(self, low: int, size: int) -> None:
        if not low <= size <= self._size:
            raise ValueError("beyond the tree")

    def _tile(self, level: int, index: int) -> Tile:
        key = (level, index)
        return self._held.get(key) or self._read.get(key) or self._load(key)

    def _load(self, key: tuple[int, int]) -> Tile:
        """From the store, held against the level above: that hash is right, so is all that is under it."""
        level, index = key
        expected = self._node(HEIGHT * (level + 1), index)
        if self._stored is None:
            raise ValueError("no store has this tile")
        hashes = self._stored.read(TileId(level, index))
        if len(hashes) != WIDTH * HASH_SIZE:
            raise self._stored.differs(TileId(level, index))
        tile = Tile.of(hashes)
        if tile.node(HEIGHT, 0) != expected:
            raise self._stored.differs(TileId(level, index))
        self._read.keep(key, tile)
        return tile

    def _node(self, level: int, index: int) -> bytes:
        """The hash over leaves index·2**level … (index+1)·2**level."""
        above, row = divmod(level, HEIGHT)
        width = WIDTH >> row  # nodes of this level in a tile
        return self._tile(above, index // width).node(row, index % width)

    def _parts(self, low: int, count: int) -> list[bytes]:
        """The complete subtrees of leaves low…low+count, the largest first; `low` is a multiple of the
        smallest power of two ≥ count."""
        nodes: list[bytes] = []
        while count:
            level = count.bit_length() - 1
            nodes.append(self._node(level, low >> level))
            low += 1 << level
            count -= 1 << level
        return nodes

    def _range(self, low: int, count: int) -> bytes:
        """MTH of these leaves."""
        return _joined(self._parts(low, count))


def _joined(nodes: list[bytes]) -> bytes:
    """The root over complete subtrees, the largest first."""
    if not nodes:
        return EMPTY_ROOT
    *rest, hashed = nodes
    while rest:
        hashed = node_hash(rest.pop(), hashed)
    return hashed


def _split(count: int) -> int:
    """The largest power of two smaller than `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
