"""What follows from the first entries of a log, kept so that a start need not read them all.

It has the boards' part as it is, and of the administration's the indices of the entries that made it, with
one digest over them: so these are replayed, and the others are not read. It counts by a MAC under the key of
the start that kept it (`core/internal_key.py`), and for the tree that it goes on from: entries after it have
to lead from there to the root that was signed.

Layout (docs/formats.md, "Kept state"): 4 octets with the length of the header, the header in JSON, the
indices with 8 octets each, and the revocations (`boards.Revocations.packed`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signerd.core.merkle import Frontier
from signerd.core.state.boards import Boards

_LABEL = b"birthmark-kept-state-v1"
_LENGTH = 4


class KeptStateError(Exception):
    """It is none, or of another program. The text says why."""


class Changes:
    """Which entries changed the administration: their indices, and a digest over their leaf hashes."""

    def __init__(self) -> None:
        self.indices = array("Q")
        self._digest = hashlib.sha256()

    def add(self, index: int, leaf: bytes) -> None:
        """One more, after those before it."""
        self.indices.append(index)
        self._digest.update(leaf)

    def digest(self) -> bytes:
        """SHA-256 over the leaf hashes, one after the other."""
        return self._digest.digest()


@dataclass(frozen=True, slots=True)
class KeptState:
    """As of `size` entries. `nodes` are the tree's complete subtrees at that size, the largest first."""

    version: str  # of the program that kept it: another one may read other things out of the same entries
    origin: str
    size: int
    nodes: Sequence[bytes]
    indices: Sequence[int]
    digest: bytes
    highest: Mapping[str, int]
    reasons: Sequence[str]
    revocations: bytes

    @classmethod
    def of(
        cls, version: str, origin: str, size: int, nodes: Sequence[bytes], changes: Changes, boards: Boards
    ) -> KeptState:
        """All of these as of `size` entries, while nobody writes."""
        reasons, revocations = boards.revocations.packed()
        return cls(
            version,
            origin,
            size,
            nodes,
            changes.indices,
            changes.digest(),
            boards.highest,
            reasons,
            revocations,
        )

    def encode(self) -> bytes:
        """Its bytes, over which the MAC is."""
        header = json.dumps(
            {
                "version": self.version,
                "origin": self.origin,
                "size": self.size,
                "nodes": [node.hex() for node in self.nodes],
                "changes": len(self.indices),
                "changes_sha256": self.digest.hex(),
                "highest": dict(self.highest),
                "reasons": list(self.reasons),
            }
        ).encode()
        return b"".join(
            (len(header).to_bytes(_LENGTH, "big"), header, _octets(self.indices), self.revocations)
        )

    @classmethod
    def read(cls, data: bytes, version: str) -> KeptState:
        """Bytes whose MAC holds. Raises KeptStateError: another version of the program kept it."""
        at = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        header: dict[str, Any] = json.loads(data[_LENGTH:at])
        if header["version"] != version:
            raise KeptStateError(f"version {header['version']} kept it")
        end = at + 8 * header["changes"]
        return cls(
            version,
            header["origin"],
            header["size"],
            [bytes.fromhex(node) for node in header["nodes"]],
            _indices(data[at:end]),
            bytes.fromhex(header["changes_sha256"]),
            header["highest"],
            header["reasons"],
            data[end:],
        )

    def demand_covered(self, origin: str, size: int) -> None:
        """Raises KeptStateError unless it is of this log, and within the tree of this size."""
        if self.origin != origin:
            raise KeptStateError(f"it is of the log {self.origin}")
        if self.size > size:
            raise KeptStateError(f"it is of {self.size} entries, and a checkpoint covers {size}")

    def boards(self) -> Boards:
        """What it says of them, to go on from."""
        boards = Boards()
        boards.highest.update(self.highest)
        boards.revocations.unpack(self.reasons, self.revocations)
        return boards

    def frontier(self) -> Frontier:
        """Its tree's, to go on from."""
        return Frontier.at(self.size, self.nodes)


def mac(key: bytes, start: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 over a kept state, under the key of the start of that name."""
    made = hmac.new(key, _LABEL + start, "sha256")
    made.update(data)
    return made.digest()


def _octets(indices: Sequence[int]) -> bytes:
    given = array("Q", indices)
    if sys.byteorder == "little":
        given.byteswap()
    return given.tobytes()


def _indices(data: bytes) -> array[int]:
    found = array("Q", data)
    if sys.byteorder == "little":
        found.byteswap()
    return found
