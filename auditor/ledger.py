"""Reads the entries up to a verified head, proves that they are the tree's, and enters them in the books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from auditor.core.codes import Code
from auditor.core.entry import CheckpointKeyActivated, parse_entry
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.history import Trust, apply, unfinished
from auditor.core.log_keys import proof_of
from auditor.errors import CheckFailed, Malformed, NotFound, Unreachable
from auditor.head import is_prefix
from auditor.ports import Log, Progress, State
from birthmark.proof import Checkpoint, Frontier, leaf_hash

CHUNK = 8_192  # entries a call: each call has a deadline of its own


@dataclass(frozen=True, slots=True)
class LedgerRun:
    """One pass over new entries, within one transaction of the state."""

    log: Log
    state: State
    trust: Trust
    progress: Progress
    report: Callable[[Finding], None]
    _proofs: list[Checkpoint] = field(default_factory=list)  # of keys of the log that were activated

    def read(self, head: Checkpoint, start: Frontier, known: Checkpoint | None) -> Frontier:
        """Reads entries from `start` to `head`; returns the head's frontier.

        Args:
            known: an earlier checkpoint that this tree must pass through.

        Raises:
            Rejected: the entries are not those of the head's tree. Nothing of them may be kept.
            Unreachable: signerd stopped answering.
        """
        frontier = start.copy()
        while frontier.size < head.size:
            before = frontier.size
            self._chunk(frontier, min(head.size, before + CHUNK), known)
            self.progress("entries", frontier.size, head.size)
            if frontier.size == before:
                break
        if frontier.size < head.size or frontier.root() != head.root:
            raise Rejected(self._divergence(head, start, frontier.size))
        self._check_proofs(head)
        for finding in unfinished(self.state, self.trust):
            self.report(finding)
        return frontier

    def _check_proofs(self, head: Checkpoint) -> None:
        """What the keys of before have signed is of this tree. Raises Rejected: they have signed another."""
        for proof in self._proofs:
            if not is_prefix(self.log, head, proof.size, proof.root):
                detail = "the log does not continue the checkpoint of a key of before"
                shown = proof.note.decode(), head.note.decode()
                raise Rejected(Finding(Code.FORK, detail, None, None, *shown))

    def _chunk(self, frontier: Frontier, end: int, known: Checkpoint | None) -> None:
        try:
            for data in self.log.entries(frontier.size, end):
                self._entry(frontier.size, data)
                frontier.append(leaf_hash(data))
                if known is not None and frontier.size == known.size and frontier.root() != known.root:
                    note = known.note.decode()
                    detail = "the entries do not lead to the kept checkpoint"
                    raise Rejected(Finding(Code.FORK, detail, None, None, note, frontier.root().hex()))
        except (Malformed, NotFound) as error:
            raise Rejected(Finding(Code.ANSWER_MALFORMED, f"entries: {error}", frontier.size)) from error

    def _entry(self, index: int, data: bytes) -> None:
        try:
            entry = parse_entry(data)
        except CheckFailed as error:
            self.state.add_entry(index, "", data)
            self.report(finding_of(error, index=index))
            return
        self.state.add_entry(index, entry.type, data)
        found = apply(self.state, index, entry, data=data, trust=self.trust)
        if isinstance(entry, CheckpointKeyActivated) and not found:
            self._proofs.append(proof_of(self.state, entry))
        for finding in found:
            self.report(finding)

    def _divergence(self, head: Checkpoint, start: Frontier, received: int) -> Finding:
        """Finds the first entry that is not the tree's: bisection over prefixes, with consistency proofs."""
        try:
            good = self._longest_prefix(head, start, received)
        except (Rejected, Unreachable) as error:
            detail = f"the entries are not those of the tree; where they differ cannot be told: {error}"
            return Finding(Code.ENTRY_NOT_IN_TREE, detail, start.size)
        if good == received:
            detail = "signerd does not hand over all entries of the tree"
            return Finding(Code.ENTRIES_MISSING, detail, good, None, str(head.size), str(received))
        data = self.state.entry(good)
        detail = "the entry that signerd hands over is not the one of the tree"
        return Finding(Code.ENTRY_NOT_IN_TREE, detail, good, None, "", _shown(data))

    def _longest_prefix(self, head: Checkpoint, start: Frontier, received: int) -> int:
        low, high = start.size, received
        while low < high:
            middle = (low + high + 1) // 2
            if is_prefix(self.log, head, middle, self._root(start, middle)):
                low = middle
            else:
                high = middle - 1
        return low

    def _root(self, start: Frontier, size: int) -> bytes:
        frontier = start.copy()
        for index in range(start.size, size):
            frontier.append(leaf_hash(self.state.entry(index)))
        return frontier.root()


def _shown(data: bytes) -> str:
    return data[:200].decode("utf-8", "replace")
