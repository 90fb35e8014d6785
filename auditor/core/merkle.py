"""RFC 6962 Merkle trees, the verifier's half: inclusion, consistency, and roots of growing trees.

`Frontier` recomputes the root while leaves stream by, holding at most 64 hashes:

    frontier = Frontier.empty()
    for leaf in entries:
        frontier.append(leaf_hash(leaf))
    frontier.root()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from auditor.errors import Malformed

HASH_SIZE = 32
MAX_PROOF_HASHES = 128  # two a level; a tree has at most 63 levels
MAX_TREE_SIZE = 2**63 - 1


def leaf_hash(leaf: bytes) -> bytes:
    """MTH of one leaf, RFC 6962 §2.1."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """MTH of two subtrees, RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees that make up a tree, largest first."""

    def __init__(self, size: int, hashes: Sequence[bytes]) -> None:
        if not 0 <= size <= MAX_TREE_SIZE or len(hashes) != size.bit_count():
            raise Malformed("frontier: as many hashes as the size has one bits are needed")
        if any(len(item) != HASH_SIZE for item in hashes):
            raise Malformed("frontier: a hash is not 32 bytes")
        self.size = size
        self._hashes = list(hashes)

    @classmethod
    def empty(cls) -> Frontier:
        """The tree without leaves."""
        return cls(0, ())

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """What is to be kept, beside the size, to go on later."""
        return tuple(self._hashes)

    def copy(self) -> Frontier:
        """One that grows on its own."""
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> None:
        """Adds a leaf by its hash: merges as many subtrees as the size has trailing one bits."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            size >>= 1
        self._hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root; of the empty tree SHA-256 of nothing."""
        if not self._hashes:
            return sha256(b"").digest()
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def _check_proof(proof: Sequence[bytes]) -> None:
    """Raises Malformed unless the proof is a list of hashes of a possible length."""
    if len(proof) > MAX_PROOF_HASHES:
        raise Malformed(f"a Merkle proof of more than {MAX_PROOF_HASHES} hashes")
    _check_hashes(proof)


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(item) != HASH_SIZE for item in hashes):
        raise Malformed(f"a hash that is not of {HASH_SIZE} bytes")


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 §2.1.3.2); None where its length is wrong."""
    if not 0 <= index < size:
        return None
    fn, sn, result = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            result = node_hash(sibling, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, sibling)
        fn, sn = fn >> 1, sn >> 1
    return result if sn == 0 else None


def is_included(*, index: int, size: int, root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """True if the proof shows that `leaf` (a hash) is at `index` of the tree. Raises Malformed."""
    _check_proof(proof)
    _check_hashes((leaf, root))
    return inclusion_root(index, size, leaf, proof) == root


def is_consistent(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """True if the proof shows that the new tree continues the old one (RFC 9162 §2.1.4.2).

    Raises:
        Malformed: the proof is no list of hashes, or the old tree is empty: it is consistent with anything.
    """
    _check_proof(proof)
    if old_size < 1 or new_size < old_size:
        raise Malformed("consistency wants 1 <= old size <= new size")
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a perfect old tree is its own first subtree
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for item in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(item, old), node_hash(item, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, item)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == old_root and new == new_root
