"""Entries that were verified before, read anew from the log, and held against the hash that is kept of them.

    reader = Reader(log, state)
    state.read_entry = reader.entry

The entries of boards are not kept a second time. Who needs one fetches its bundle, 256 entries, and compares
the bundle's hash. So what is read here is what was verified, or it is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditor.core.codes import Code
from auditor.core.findings import Finding, Rejected
from auditor.core.growth import BUNDLE, Growth, bundle_hash, leaf_hashes
from auditor.core.proofs import is_included
from auditor.errors import Malformed, NotFound
from auditor.ports import Log, State
from birthmark.proof import Checkpoint

_HELD = 128  # bundles, some 30 MiB of usual entries
_HELD_BYTES = 64 << 20  # of their entries, but for one bundle that has more


class Reader:
    """Of one log, by one kept state."""

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self._state = state
        self._bundles: dict[int, Sequence[bytes]] = {}
        self._held_bytes = 0
        self._rejected: dict[int, Rejected] = {}  # asked for once: naming the entry takes a proof for each
        self._ahead: tuple[int, Sequence[bytes]] = (0, ())
        kept = state.kept()
        self.growth = Growth.empty() if kept is None else Growth.of(kept.frontier, kept.tail)

    def hold(self, start: int, entries: Sequence[bytes], growth: Growth) -> None:
        """Entries that are proven and just being entered, from index `start` on; `growth` has them."""
        self._ahead = (start, entries)
        self._held_bytes -= _size(self._bundles.pop(self.growth.bundles, ()))  # it has grown
        self._rejected.pop(self.growth.bundles, None)
        self.growth = growth

    def entry(self, index: int) -> bytes:
        """One entry.

        Raises:
            NotFound: it is beyond what was verified.
            Rejected: it is not the one that was verified.
            Unreachable: the log does not answer.
        """
        start, entries = self._ahead
        if start <= index < start + len(entries):
            return entries[index - start]
        if index >= self.growth.size:
            raise NotFound(f"no entry {index} was verified")
        return self.bundle(index // BUNDLE)[index % BUNDLE]

    def bundle(self, number: int) -> Sequence[bytes]:
        """The entries of one bundle; of the last one, those that there are. Raises as `entry`."""
        found = self._bundles.pop(number, None)
        if found is None:
            if number in self._rejected:
                raise Rejected(self._rejected[number].finding)
            try:
                found = self.fetch(number)
            except Rejected as rejected:
                if len(self._rejected) < _HELD:
                    self._rejected[number] = rejected
                raise
            self._held_bytes += _size(found)
            while self._bundles and (len(self._bundles) >= _HELD or self._held_bytes > _HELD_BYTES):
                self._held_bytes -= _size(self._bundles.pop(next(iter(self._bundles))))
        self._bundles[number] = found  # as the one used last
        return found

    def fetch(self, number: int) -> Sequence[bytes]:
        """The same, in any case from the log."""
        begin = number * BUNDLE
        end = min(begin + BUNDLE, self.growth.size)
        try:
            entries = list(self._log.entries(begin, end))
        except (Malformed, NotFound) as error:
            raise Rejected(Finding(Code.ANSWER_MALFORMED, f"entries: {error}", begin)) from error
        if len(entries) != end - begin:
            detail = "signerd does not hand over entries that were verified"
            found = str(begin + len(entries))
            raise Rejected(Finding(Code.ENTRIES_MISSING, detail, begin + len(entries), None, str(end), found))
        leaves = leaf_hashes(entries)
        if number < self.growth.bundles:
            holds = bundle_hash(leaves) == self._state.bundle(number)
        else:
            holds = leaves == self.growth.tail
        if not holds:
            raise Rejected(self._altered(begin, entries, leaves))
        return entries

    def _altered(self, begin: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> Finding:
        """Names the entry, as far as inclusion proofs tell which one it is."""
        detail = "signerd hands over another entry than the one that was verified"
        kept = self._state.kept()
        for offset, leaf in enumerate(leaves):
            if kept is not None and not self._included(kept.checkpoint, begin + offset, leaf):
                return Finding(
                    Code.ENTRY_NOT_IN_TREE, detail, begin + offset, None, "", shown(entries[offset])
                )
        return Finding(Code.ENTRY_NOT_IN_TREE, f"{detail}, among the {len(leaves)} from here on", begin)

    def _included(self, head: Checkpoint, index: int, leaf: bytes) -> bool:
        try:
            proof = self._log.inclusion_proof(index, head.size)
            return is_included(index=index, size=head.size, root=head.root, leaf=leaf, proof=proof)
        except (Malformed, NotFound):
            return False


def _size(entries: Sequence[bytes]) -> int:
    return sum(map(len, entries))


def shown(data: bytes) -> str:
    """The beginning of an entry, for a finding."""
    return data[:200].decode("utf-8", "replace")
