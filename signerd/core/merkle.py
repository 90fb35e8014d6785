"""The ledger's Merkle tree: RFC 6962 §2.1 over SHA-256.

Guarantees that `root`, `inclusion` and `consistency` at a size depend on the first `size` leaves alone,
and cost O(log size) hashes at any size. Every complete node is kept, 64 bytes a leaf: a million leaves
take 64 MB. Proofs at a committed size may be read while another thread appends or takes back later
leaves, since neither touches a node that is complete at the committed size.

    tree = Tree()
    tree.append(leaf_hash(b"first"))
    tree.root()
"""

from __future__ import annotations

import hashlib

HASH_SIZE = 32  # bytes, SHA-256
EMPTY_ROOT = hashlib.sha256().digest()  # RFC 6962 §2.1: MTH({})


def leaf_hash(data: bytes) -> bytes:
    """MTH of a single leaf (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree in memory; `truncate` takes back what was not committed."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        # _levels[k] holds the hashes of the complete subtrees of 2**k leaves, from the left.
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_SIZE

    def append(self, leaf: bytes) -> None:
        """Adds one leaf, given as its `leaf_hash`."""
        if len(leaf) != HASH_SIZE:
            raise ValueError("a leaf hash has 32 bytes")
        levels = self._levels
        index, level, node = self.size, 0, leaf
        levels[0] += node
        while index & 1:
            node = node_hash(self._node(level, index - 1), node)
            index >>= 1
            level += 1
            if level == len(levels):
                levels.append(bytearray())
            levels[level] += node

    def truncate(self, size: int) -> None:
        """Goes back to the first `size` leaves."""
        if not 0 <= size <= self.size:
            raise ValueError("a tree is truncated to a size it had")
        for level, nodes in enumerate(self._levels):
            del nodes[(size >> level) * HASH_SIZE :]

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` leaves, of all where None.

        Raises:
            ValueError: the tree is smaller.
        """
        size = self.size if size is None else size
        self._check(0, size)
        return self._range(0, size) if size else EMPTY_ROOT

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

    def _check(self, low: int, size: int) -> None:
        if not low <= size <= self.size:
            raise ValueError("beyond the tree")

    def _node(self, level: int, index: int) -> bytes:
        start = index * HASH_SIZE
        return bytes(self._levels[level][start : start + HASH_SIZE])

    def _range(self, low: int, count: int) -> bytes:
        """MTH of leaves low…low+count; `low` is a multiple of the smallest power of two ≥ count."""
        nodes: list[bytes] = []
        while count:
            level = count.bit_length() - 1
            nodes.append(self._node(level, low >> level))
            low += 1 << level
            count -= 1 << level
        hashed = nodes.pop()
        while nodes:
            hashed = node_hash(nodes.pop(), hashed)
        return hashed


def _split(count: int) -> int:
    """The largest power of two smaller than `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
