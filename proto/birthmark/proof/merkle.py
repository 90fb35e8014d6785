"""RFC 6962 Merkle trees over SHA-256: hashes, proofs, and the roots of trees that grow.

Guarantees: `verify_inclusion` returns only if the leaf is at this index of the tree with this root, and
`verify_consistency` only if the newer tree begins with the older one, as far as SHA-256 holds. `Frontier`
has a tree's root while leaves stream by, and holds at most 63 hashes:

    frontier = Frontier()
    frontier.extend(leaf_hash(entry) for entry in entries)
    assert frontier.root() == checkpoint.root
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from birthmark.proof.errors import ProofError, Reason, malformed
from birthmark.proof.spelling import HASH_SIZE, MAX_NUMBER

MAX_TREE_SIZE = MAX_NUMBER  # leaves
MAX_PROOF_HASHES = 128  # two a level; a tree has at most 63 levels
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf with this content, RFC 6962 §2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees, RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees that make up a tree, largest first; at first those of the empty tree.

    Args:
        size: number of leaves.
        hashes: as many as `size` has one bits, as `hashes` of another one gave them.

    Raises:
        ProofError: size and hashes are not of a tree.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_TREE_SIZE or len(hashes) != size.bit_count():
            raise malformed("a frontier has as many hashes as its size has one bits")
        check_hashes(hashes)
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """What is to be kept, beside the size, to go on later."""
        return tuple(self._hashes)

    def copy(self) -> Frontier:
        """One that grows on its own."""
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> None:
        """Adds a leaf by its hash: merges as many subtrees as the size has trailing one bits."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Adds leaves by their hashes, 32 bytes each."""
        hashes, size, digest = self._hashes, self.size, sha256
        for leaf in leaves:
            node, ones = leaf, size
            while ones & 1:
                node = digest(b"\x01" + hashes.pop() + node).digest()
                ones >>= 1
            hashes.append(node)
            size += 1
            self.size = size  # each leaf, so that an iterator that raises leaves a whole tree

    def root(self) -> bytes:
        """The tree's root. That of the empty tree is SHA-256 of nothing."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def check_hashes(hashes: Iterable[bytes]) -> None:
    """Raises ProofError unless each has 32 bytes."""
    if any(len(item) != HASH_SIZE for item in hashes):
        raise malformed("a hash that is not of 32 bytes")


def verify_inclusion(*, index: int, size: int, root: bytes, leaf: bytes, proof: Sequence[bytes]) -> None:
    """Verifies that a leaf is in a tree (RFC 6962 §2.1.1, by the algorithm of RFC 9162 §2.1.3.2).

    Args:
        index: the leaf's, from 0.
        size: of the tree.
        root: of the tree.
        leaf: the leaf's hash.
        proof: from the leaf's sibling upward.

    Raises:
        ProofError: MALFORMED, or NOT_PROVED.
    """
    _check_proof(proof)
    check_hashes((leaf, root))
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise malformed("the index lies beyond the tree")
    if _root_of_inclusion(index, size, leaf, proof) != root:
        raise ProofError(Reason.NOT_PROVED, f"the proof does not lead from leaf {index} to the root")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verifies that a tree continues an older one (RFC 6962 §2.1.2, by the algorithm of RFC 9162 §2.1.4.2).

    Raises:
        ProofError: MALFORMED, also where the old tree is empty, which any tree continues and no proof shows;
            or NOT_PROVED.
    """
    _check_proof(proof)
    if not 1 <= old_size <= new_size <= MAX_TREE_SIZE:
        raise malformed("consistency wants 1 <= old size <= new size")
    if old_size == new_size:
        holds = not proof and old_root == new_root
    else:
        check_hashes((old_root, new_root))
        holds = _roots_of_consistency(old_size, old_root, new_size, proof) == (old_root, new_root)
    if not holds:
        raise ProofError(
            Reason.NOT_PROVED, f"the proof does not show that size {new_size} continues size {old_size}"
        )


def _check_proof(proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise malformed(f"a proof of more than {MAX_PROOF_HASHES} hashes")
    check_hashes(proof)


def _root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """None: the proof is not of the length that index and size ask for."""
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


def _roots_of_consistency(
    old_size: int, old_root: bytes, new_size: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes] | None:
    """Old and new root to which the proof leads; None: it is not of the length that the sizes ask for."""
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a perfect old tree is its own first subtree
        path.insert(0, old_root)
    if not path:
        return None
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for item in path[1:]:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            old, new = node_hash(item, old), node_hash(item, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, item)
        fn, sn = fn >> 1, sn >> 1
    return (old, new) if sn == 0 else None
