"""Reads the entries up to a verified head, chunk by chunk: each is proven to be the tree's, then entered.

    1  a chunk is fetched and hashed
    2  the tree with it is a beginning of the head's: its root is the head's, or a consistency proof shows it
    3  where an earlier checkpoint lies within it, the tree passes through that one
    4  in one transaction: the hashes of its bundles, each entry's form and history, what was found, and how
       far the run has come

So nothing stands in the books that is not proven, and a crash leaves the chunks before it. Where the head's
own signatures depend on entries that are still to come, nothing is durable before the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from auditor.core.codes import Code
from auditor.core.entry import CheckpointKeyActivated, parse_entry
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.growth import Growth, leaf_hashes
from auditor.core.history import Trust, apply, unfinished
from auditor.core.log_keys import proof_of
from auditor.errors import CheckFailed, Malformed, NotFound, Unreachable
from auditor.head import check_passes, fork, is_prefix
from auditor.ports import Kept, Log, Progress, Stage, State
from auditor.reread import Reader, shown
from birthmark.proof import Checkpoint

CHUNK = 16_384  # entries a transaction, and a call: each call has a deadline of its own
CHUNK_BYTES = 32 << 20  # the same: a chunk ends with the entry that comes to it


@dataclass(frozen=True, slots=True)
class LedgerRun:
    """One pass over new entries."""

    log: Log
    state: State
    reader: Reader
    trust: Trust
    progress: Progress
    report: Callable[[Finding], None]
    commit: Callable[[Callable[[], None]], None]  # what it is given is durable as a whole or not at all
    chunk: int = CHUNK
    _proofs: list[Checkpoint] = field(default_factory=list)  # of keys of the log that were activated

    def read(
        self,
        head: Checkpoint,
        start: Growth,
        known: Checkpoint | None,
        first: Callable[[], None],
        last: Callable[[], None],
    ) -> None:
        """Reads entries from `start` to `head`, and keeps them.

        Args:
            head: a signed checkpoint.
            start: what was read before.
            known: an earlier checkpoint that this tree must pass through, if it is larger than `start`.
            first: is called within the first transaction, before all else.
            last: is called within the last one, after all else.

        Raises:
            Rejected: entries are not those of the head's tree. The chunks before them are kept.
            Unreachable: signerd stopped answering. The same.
        """
        growth, begun = start, False
        while not begun or growth.size < head.size:
            entries = self._fetch(growth.size, min(head.size, growth.size + self.chunk))
            leaves = leaf_hashes(entries)
            grown = growth.copy()
            finished = grown.extend(leaves)
            self._prove(head, growth, leaves, grown, entries)
            self._check_known(head, growth, leaves, known)
            begin = growth

            def enter(
                begin: Growth = begin,
                grown: Growth = grown,
                entries: Sequence[bytes] = entries,
                finished: Sequence[bytes] = finished,
                begun: bool = begun,  # noqa: FBT001 (bound here, and never passed)
            ) -> None:
                if not begun:
                    first()
                self._enter(head, begin, grown, entries, finished)
                if known is not None and known.size <= grown.size:
                    self.state.passed()
                if grown.size == head.size:
                    for finding in unfinished(self.state, self.trust):
                        self.report(finding)
                    last()

            self.commit(enter)
            growth, begun = grown, True
            self.progress("entries", growth.size, head.size)

    def _fetch(self, start: int, end: int) -> list[bytes]:
        if start == end:
            return []
        try:
            entries, size = list[bytes](), 0
            for data in self.log.entries(start, end):
                entries.append(data)
                size += len(data)
                if size >= CHUNK_BYTES:
                    break
        except (Malformed, NotFound) as error:
            raise Rejected(Finding(Code.ANSWER_MALFORMED, f"entries: {error}", start)) from error
        return entries

    def _prove(
        self,
        head: Checkpoint,
        growth: Growth,
        leaves: Sequence[bytes],
        grown: Growth,
        entries: Sequence[bytes],
    ) -> None:
        """The tree with the chunk is a beginning of the head's. Raises Rejected."""
        asked = min(head.size, growth.size + self.chunk)
        if grown.size == asked or sum(map(len, entries)) >= CHUNK_BYTES:
            if grown.size == head.size:
                if grown.root() == head.root:
                    return
            elif is_prefix(self.log, head, grown.size, grown.root()):
                return
        raise Rejected(self._divergence(head, growth, leaves, entries))

    def _check_known(
        self, head: Checkpoint, growth: Growth, leaves: Sequence[bytes], known: Checkpoint | None
    ) -> None:
        """Both checkpoints are signed, and entries that lead to one do not to the other. Raises Rejected."""
        if known is None or not growth.size < known.size <= growth.size + len(leaves):
            return
        part = growth.copy()
        part.extend(leaves[: known.size - growth.size])
        if part.root() != known.root:
            raise Rejected(fork(head, known, "the entries lead to the head, and not to the kept checkpoint"))

    def _enter(
        self,
        head: Checkpoint,
        growth: Growth,
        grown: Growth,
        entries: Sequence[bytes],
        finished: Sequence[bytes],
    ) -> None:
        self.state.add_bundles(growth.bundles, finished)
        self.reader.hold(growth.size, entries, grown)
        for index, data in enumerate(entries, growth.size):
            self._entry(index, data)
        self._check_proofs(head)
        kept = self.state.kept()
        record_id = 0 if kept is None else kept.record_id
        stage = Stage.RECORDS if grown.size == head.size else Stage.ENTRIES
        self.state.keep(Kept(head, grown.frontier(), tuple(grown.tail), record_id, stage))

    def _check_proofs(self, head: Checkpoint) -> None:
        """What the keys of before have signed is of this tree. Raises Rejected: they have signed another."""
        while self._proofs:
            check_passes(self.log, head, self._proofs.pop(), "the checkpoint of a key of before")

    def _entry(self, index: int, data: bytes) -> None:
        try:
            entry = parse_entry(data)
        except CheckFailed as error:
            self.report(finding_of(error, index=index))
            return
        self.state.add_entry(index, entry.type, data)
        found = apply(self.state, index, entry, data=data, trust=self.trust)
        if isinstance(entry, CheckpointKeyActivated) and not found:
            self._proofs.append(proof_of(self.state, entry))
        for finding in found:
            self.report(finding)

    def _divergence(
        self, head: Checkpoint, growth: Growth, leaves: Sequence[bytes], entries: Sequence[bytes]
    ) -> Finding:
        """Finds the first entry that is not the tree's: bisection over beginnings, with consistency
        proofs."""
        try:
            good = self._longest_prefix(head, growth, leaves)
        except (Rejected, Unreachable) as error:
            detail = f"the entries are not those of the tree; where they differ cannot be told: {error}"
            return Finding(Code.ENTRY_NOT_IN_TREE, detail, growth.size)
        received = growth.size + len(leaves)
        if good == received:
            detail = "signerd does not hand over all entries of the tree"
            return Finding(Code.ENTRIES_MISSING, detail, good, None, str(head.size), str(received))
        detail = "the entry that signerd hands over is not the one of the tree"
        return Finding(Code.ENTRY_NOT_IN_TREE, detail, good, None, "", shown(entries[good - growth.size]))

    def _longest_prefix(self, head: Checkpoint, growth: Growth, leaves: Sequence[bytes]) -> int:
        low, high = growth.size, growth.size + len(leaves)
        while low < high:
            middle = (low + high + 1) // 2
            part = growth.copy()
            part.extend(leaves[: middle - growth.size])
            if is_prefix(self.log, head, middle, part.root()):
                low = middle
            else:
                high = middle - 1
        return low
