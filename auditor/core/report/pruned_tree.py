"""A tree of which only some entries are shown: for all others, as few hashes as there can be (RFC 6962 §2.1).

    pruning = Pruning()
    pruning.hide(Subtree(0, 256, bundle_hash))       # in the order of the tree
    pruning.show(256)
    pruning.end()                                    # the subtrees so far: hashes over all that is hidden

    tree = Joined()
    tree.add(...)                                    # the same subtrees and leaf hashes, in their order
    tree.root()

So each entry that is shown is proven to be of the tree, all together: with k of n entries shown there are at
most k log₂(n) hashes, and where the entries follow each other some 2 log₂(n) in all.
"""

from __future__ import annotations

from auditor.core.report.form import Subtree
from auditor.errors import Malformed
from birthmark.proof import node_hash
from birthmark.proof.merkle import EMPTY_ROOT


class Pruning:
    """See the module."""

    def __init__(self) -> None:
        self.size = 0  # entries so far
        self._open: list[Subtree] = []
        self._done: list[Subtree] = []

    def hide(self, subtree: Subtree) -> None:
        """Entries that are not shown. Two subtrees that make one become one."""
        if subtree.first != self.size:
            raise ValueError("subtrees come in their order")
        self.size += subtree.count
        while self._open:
            left = self._open[-1]
            if left.count != subtree.count or left.first % (2 * left.count):
                break
            self._open.pop()
            subtree = Subtree(left.first, 2 * left.count, node_hash(left.hash, subtree.hash))
        self._open.append(subtree)

    def show(self, index: int) -> None:
        """An entry that is shown."""
        if index != self.size:
            raise ValueError("entries come in their order")
        self.size += 1
        self._done += self._open
        self._open.clear()

    def end(self) -> list[Subtree]:
        """The subtrees that were not taken before, in their order."""
        done, self._done = self._done + self._open, []
        self._open = []
        return done


class Joined:
    """The root over subtrees that follow each other. `size`: entries so far."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes: list[tuple[int, bytes]] = []  # count and hash; counts fall

    def add(self, first: int, count: int, digest: bytes) -> None:
        """A subtree, or with `count` 1 a leaf. Raises Malformed: it is not the next one."""
        if first != self.size:
            raise Malformed(
                f"entries {min(first, self.size)} to {max(first, self.size) - 1} are twice or not there"
            )
        self.size += count
        while self._hashes and self._hashes[-1][0] == count:
            digest = node_hash(self._hashes.pop()[1], digest)
            count *= 2
        self._hashes.append((count, digest))

    def root(self) -> bytes:
        """Of all."""
        if not self._hashes:
            return EMPTY_ROOT
        *left, (_, root) = self._hashes
        for _, digest in reversed(left):
            root = node_hash(digest, root)
        return root
