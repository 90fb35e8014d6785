"""Tiles of the ledger's tree in memory: their hashes, and the nodes over them (RFC 6962 §2.1)."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from signerd.core.tiles import HEIGHT

HASH_SIZE = 32  # bytes, SHA-256
EMPTY_ROOT = hashlib.sha256().digest()  # RFC 6962 §2.1: MTH({})


def leaf_hash(data: bytes) -> bytes:
    """MTH of a single leaf (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tile:
    """Up to 256 hashes, and all complete nodes over them."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        # _rows[k] holds the nodes over 2**k hashes, from the left.
        self._rows = [bytearray() for _ in range(HEIGHT + 1)]

    @classmethod
    def of(cls, hashes: bytes) -> Tile:
        """Of its hashes, one after the other."""
        tile = cls()
        for start in range(0, len(hashes), HASH_SIZE):
            tile.append(hashes[start : start + HASH_SIZE])
        return tile

    def append(self, node: bytes) -> None:
        """Adds a hash."""
        rows, row = self._rows, 0
        index = len(rows[0]) // HASH_SIZE
        rows[0] += node
        while index & 1:
            node = node_hash(self.node(row, index - 1), node)
            index >>= 1
            row += 1
            rows[row] += node

    def cut(self, width: int) -> None:
        """Goes back to the first hashes."""
        for row, nodes in enumerate(self._rows):
            del nodes[(width >> row) * HASH_SIZE :]

    def node(self, row: int, index: int) -> bytes:
        """The node over hashes index·2**row … (index+1)·2**row."""
        start = index * HASH_SIZE
        return bytes(self._rows[row][start : start + HASH_SIZE])

    def hashes(self, width: int) -> bytes:
        """The first ones."""
        return bytes(self._rows[0][: width * HASH_SIZE])


class KeptTiles:
    """The tiles that were read last. Several threads may use it."""

    def __init__(self, limit: int) -> None:
        """At most `limit` tiles."""
        self._limit = limit
        self._tiles: OrderedDict[tuple[int, int], Tile] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._tiles

    def get(self, key: tuple[int, int]) -> Tile | None:
        """The tile of this level and index, if it is kept."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def keep(self, key: tuple[int, int], tile: Tile) -> None:
        """Keeps it, in the place of the one that was wanted longest ago."""
        with self._lock:
            self._tiles[key] = tile
            self._tiles.move_to_end(key)
            while len(self._tiles) > self._limit:
                self._tiles.popitem(last=False)
