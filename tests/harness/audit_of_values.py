"""An audit without a server and without a file: a paper log's entries and records, and books in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from auditor.adapters.messages import record_of
from auditor.adapters.state import SqliteState, _ready
from auditor.core.certificate import Issuer, verify_issuer
from auditor.core.entry import parse_entry
from auditor.core.findings import Finding, finding_of
from auditor.core.history import apply, unfinished
from auditor.core.identities import Identities
from auditor.core.product import ProductRules
from auditor.core.record import AppraisalPolicy, Checked, Record, check_record
from auditor.errors import CheckFailed
from auditor.facts import facts_of
from harness.audit_bench import pinned
from harness.paper_certificates import der
from harness.paper_log import Board, PaperLog


def books_in_memory() -> SqliteState:
    """The books that an auditor keeps, without a file."""
    return SqliteState(_ready(sqlite3.connect(":memory:", isolation_level=None)), None)


@dataclass
class ValueAudit:
    """`read` takes the entries that the log has had since."""

    log: PaperLog
    state: SqliteState = field(default_factory=books_in_memory)
    size: int = 0

    def __post_init__(self) -> None:
        self.state.read_entry = lambda index: self.log.entries[index]

    def read(self) -> list[tuple[str, int | None]]:
        """Code and entry of each finding."""
        return [(finding.code.name, finding.index) for finding in self.findings()]

    def findings(self) -> list[Finding]:
        """Of the new entries, and of what stands open at their end."""
        return [*self._entries(), *unfinished(self.state, pinned(self.log).trust)]

    def _entries(self) -> Iterator[Finding]:
        trust = pinned(self.log).trust
        for index in range(self.size, len(self.log.entries)):
            data = self.log.entries[index]
            self.size = index + 1
            try:
                entry = parse_entry(data)
            except CheckFailed as error:
                self.state.add_entry(index, "", data)
                yield finding_of(error, index=index)
                continue
            self.state.add_entry(index, entry.type, data)
            yield from apply(self.state, index, entry, data=data, trust=trust)

    def check(
        self,
        board: Board,
        *,
        issuer: Issuer | None = None,
        product: ProductRules | None = None,
        identities: Identities | None = None,
        changed: Callable[[Record], Record] = lambda record: record,
    ) -> Checked:
        """`check_record` of the newest certificate of a board, with what signerd shows `changed`.

        Raises:
            CheckFailed: the first thing that does not hold.
        """
        certificate = list(self.state.certificates_of(serial_number=board.record.serial_number))[-1]
        facts = facts_of(self.state, certificate, self.size)
        chain = [der(self.log.issuer.certificate)]
        verified = issuer or verify_issuer(chain, self.log.root.certificate)
        return check_record(
            changed(record_of(board.record)), facts, verified, AppraisalPolicy(product, identities)
        )
