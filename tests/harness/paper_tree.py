"""An RFC 6962 tree that makes proofs, written from the RFC's recursive definitions for the paper log."""

from __future__ import annotations

from hashlib import sha256


class PaperTree:
    """Keeps the roots of all perfect subtrees, so that a proof costs O(log² n)."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    @property
    def size(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        node = sha256(b"\x00" + leaf).digest()
        for level in range(64):
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)
            if len(self._levels[level]) % 2:
                return
            left, right = self._levels[level][-2:]
            node = sha256(b"\x01" + left + right).digest()

    def root(self, size: int) -> bytes:
        return self._mth(0, size) if size else sha256(b"").digest()

    def range(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]) of a perfect subtree."""
        return self._mth(start, end)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """PATH(m, D[n]), RFC 6962 §2.1.1."""
        return self._path(index, 0, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """PROOF(m, D[n]), RFC 6962 §2.1.2."""
        return self._subproof(old, 0, new, complete=True)

    def _mth(self, start: int, end: int) -> bytes:
        width = end - start
        level = width.bit_length() - 1
        if width == 1 << level and start % width == 0:
            return self._levels[level][start >> level]
        split = _split(width)
        left, right = self._mth(start, start + split), self._mth(start + split, end)
        return sha256(b"\x01" + left + right).digest()

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._mth(middle, end)]
        return [*self._path(index, middle, end), self._mth(start, middle)]

    def _subproof(self, old: int, start: int, end: int, *, complete: bool) -> list[bytes]:
        if old == end:
            return [] if complete else [self._mth(start, end)]
        middle = start + _split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, complete=complete), self._mth(middle, end)]
        return [*self._subproof(old, middle, end, complete=False), self._mth(start, middle)]


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1
