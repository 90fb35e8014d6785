"""A tree that grows by chunks, and what is kept of it: a hash for each 256 entries (RFC 6962 §2.1).

    growth = Growth.empty()
    finished = growth.extend(chunk)      # hashes of the bundles that are whole now
    growth.frontier().root()

A bundle is 256 entries beginning at a multiple of 256, as in C2SP tlog-tiles. Its hash is the root of their
perfect subtree, so whoever keeps it can tell later whether the entries of a bundle are still the same. Of
the last bundle, which is not whole yet, the leaf hashes are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from auditor.core.proofs import translated
from auditor.errors import Malformed
from birthmark.proof import Frontier

BUNDLE = 256  # entries


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 §2.1, of many."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def bundle_hash(leaves: Sequence[bytes]) -> bytes:
    """The root over exactly 256 leaf hashes."""
    if len(leaves) != BUNDLE:
        raise Malformed("a bundle has 256 entries")
    level = list(leaves)
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


class Growth:
    """See the module. `tail`: leaf hashes of the bundle that is not whole."""

    def __init__(self, whole: Frontier, tail: Sequence[bytes]) -> None:
        if len(tail) >= BUNDLE or any(len(leaf) != 32 for leaf in tail):
            raise Malformed("a tail is at most 255 hashes of 32 bytes")
        self._whole = whole.copy()  # its leaves are bundles
        self.tail = list(tail)

    @classmethod
    def empty(cls) -> Growth:
        """Of no entry."""
        return cls(Frontier(), ())

    @classmethod
    def of(cls, frontier: Frontier, tail: Sequence[bytes]) -> Growth:
        """What was kept. Raises Malformed: the two do not go together."""
        bundles = frontier.size // BUNDLE
        with translated():
            growth = cls(Frontier(bundles, frontier.hashes[: bundles.bit_count()]), tail)
        if growth.size != frontier.size or growth.frontier().hashes != frontier.hashes:
            raise Malformed("frontier and last hashes are of different trees")
        return growth

    @property
    def size(self) -> int:
        """Entries."""
        return self._whole.size * BUNDLE + len(self.tail)

    @property
    def bundles(self) -> int:
        """Whole ones."""
        return self._whole.size

    def copy(self) -> Growth:
        """One that grows on its own."""
        return Growth(self._whole, self.tail)

    def extend(self, leaves: Sequence[bytes]) -> list[bytes]:
        """Adds leaf hashes; returns the hashes of bundles that became whole."""
        finished: list[bytes] = []
        self.tail += leaves
        at = 0
        while len(self.tail) - at >= BUNDLE:
            finished.append(bundle_hash(self.tail[at : at + BUNDLE]))
            self._whole.append(finished[-1])
            at += BUNDLE
        del self.tail[:at]
        return finished

    def extend_by(self, bundle: bytes) -> None:
        """Adds 256 entries of which the hash was kept. Raises Malformed: the last bundle is not whole."""
        if self.tail:
            raise Malformed("a bundle begins at a multiple of 256")
        self._whole.append(bundle)

    def frontier(self) -> Frontier:
        """Of all entries."""
        rest = Frontier()
        for leaf in self.tail:
            rest.append(leaf)
        return Frontier(self.size, (*self._whole.hashes, *rest.hashes))

    def root(self) -> bytes:
        """The tree's root."""
        return self.frontier().root()
