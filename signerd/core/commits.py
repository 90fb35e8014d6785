"""What proves that signerd committed entries which no checkpoint covers yet: one MAC a commit.

Whoever can write the database can write entries. Under a signed checkpoint they would not fit the tree.
Beyond the last one they have to fit a MAC, whose key the key holder derives for one start of signerd
(`core/internal_key.py`), so that nothing is ever signed over entries that signerd did not write.

The MAC says nothing of positions, so that entries may be numbered later by somebody else. What keeps a commit
from being put in again, or from being left out, is in it all the same:

    epoch      how many entries of the log changed the administration, this commit's included: none that did
    is
               left out before another one, and none comes twice
    published  the size of the tree that was published when it was committed: its entries are in no smaller
               tree, so that only those from there on are to be compared
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signerd.core.internal_key import START_BYTES
from signerd.core.merkle import HASH_SIZE

_LABEL = b"birthmark-commit-v1"
MAC_BYTES = 32  # HMAC-SHA-256
MAX_INTEGER = 2**63  # what a database keeps


class CommitError(Exception):
    """Entries that no MAC covers. The text says which, and from where."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction's entries, by their leaf hashes."""

    start: bytes  # the name of the start of signerd whose key made the MAC
    epoch: int
    published: int
    leaves: bytes  # one after the other

    @property
    def count(self) -> int:
        """Of entries."""
        return len(self.leaves) // HASH_SIZE

    def mac(self, key: bytes, origin: str) -> bytes:
        """Under the key of its start, for the log of this name: the one that it had before this commit, so
        that a commit which a succession lost counts in no successor."""
        name = origin.encode()
        framed = (
            _LABEL,
            len(name).to_bytes(2, "big"),
            name,
            self.start,
            self.epoch.to_bytes(8, "big"),
            self.published.to_bytes(8, "big"),
            self.count.to_bytes(4, "big"),
            self.leaves,
        )
        return hmac.digest(key, b"".join(framed), "sha256")


@dataclass(frozen=True, slots=True)
class KeptCommit:
    """A commit as the database has it, with its MAC. Nothing of it is believed yet."""

    commit: Commit
    mac: bytes

    @classmethod
    def read(cls, start: object, epoch: object, published: object, leaves: object, mac: object) -> KeptCommit:
        """Raises CommitError: it is none, whatever the database holds."""
        match (start, epoch, published, leaves, mac):
            case (bytes(), int(), int(), bytes(), bytes()) if (
                len(start) == START_BYTES
                and 0 <= epoch < MAX_INTEGER
                and 0 <= published < MAX_INTEGER
                and leaves
                and len(leaves) % HASH_SIZE == 0
            ):
                return cls(Commit(start, epoch, published, leaves), mac)
        raise CommitError("a row of commits is of another form")


@dataclass(frozen=True, slots=True)
class Uncovered:
    """The part of a log that no checkpoint covers. Leaf hashes are those of what stands there."""

    origin: str
    size: int  # of the last checkpoint's tree
    before: Sequence[bytes]  # leaf hashes of the entries before, as far back as `oldest_needed`
    leaves: Sequence[bytes]  # from `size` on
    epochs: Sequence[int]  # after each of `leaves`
    kept: Sequence[KeptCommit]  # in the order of the log
    successors: Sequence[tuple[int, str]] = ()  # name of each successor of the log, from which entry on

    def demand(self, keys: Mapping[bytes, Sequence[bytes]]) -> None:
        """Raises CommitError unless a MAC of a commit covers each entry, once.

        Args:
            keys: by the name of a start, those that may be its.
        """
        self._demand_first()
        at = self.size - self._overlap()
        seen = set(self.before)
        for each in self.kept:
            commit = each.commit
            self._demand_mac(each, keys.get(commit.start, ()), at)
            for number in range(commit.count):
                self._demand_leaf(commit.leaves[number * HASH_SIZE :][:HASH_SIZE], at + number, seen)
            at += commit.count
            if at > self.size and self.epochs[at - self.size - 1] != commit.epoch:
                raise CommitError(f"a commit of another administration ends at entry {at - 1}")
        if at < self.size + len(self.leaves):
            raise CommitError(f"no commit has entry {at}")

    def _demand_first(self) -> None:
        """For an error of its own: commits of the log's end alone, as in a log older than they are."""
        count = sum(each.commit.count for each in self.kept)
        missing = len(self.leaves) - count
        if self.kept and missing > 0 and b"".join(self.leaves[missing:]) == self._committed():
            raise CommitError(
                f"there are commits from entry {self.size + missing} on, and none between the checkpoint and"
                " it: the checkpoint is older than they are, or they were taken away. Take a newer one, over"
                f" {self.size + missing} entries or more"
            )

    def _committed(self) -> bytes:
        return b"".join(each.commit.leaves for each in self.kept)

    def _overlap(self) -> int:
        """How many entries of the first commit the checkpoint covers."""
        there = sum(each.commit.count for each in self.kept)
        overlap = there - len(self.leaves)
        if self.kept and overlap >= self.kept[0].commit.count:
            raise CommitError(f"commits have {there} entries, and {len(self.leaves)} are under no checkpoint")
        return max(overlap, 0)

    def _demand_mac(self, each: KeptCommit, keys: Sequence[bytes], at: int) -> None:
        origin = next((name for index, name in reversed(self.successors) if index < at), self.origin)
        if not any(hmac.compare_digest(each.commit.mac(key, origin), each.mac) for key in keys):
            raise CommitError(f"the MAC of the commit of entry {at} does not hold")

    def _demand_leaf(self, leaf: bytes, index: int, seen: set[bytes]) -> None:
        if index < self.size:
            if leaf != self.before[index - self.size]:
                raise CommitError(f"entry {index} is not the one that was committed")
            return
        if leaf != self.leaves[index - self.size]:
            raise CommitError(f"entry {index} is not the one that was committed")
        if leaf in seen:
            raise CommitError(f"entry {index} stands in the log before")
        seen.add(leaf)


def oldest_needed(size: int, kept: Sequence[KeptCommit]) -> int:
    """From which entry on those before a checkpoint of this size have to be compared."""
    first = min((each.commit.published for each in kept), default=size)
    longest = max((each.commit.count for each in kept), default=0)
    return max(0, min(size, first, size - longest))
