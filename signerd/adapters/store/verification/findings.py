"""What `signerd database verify` finds: a row, or an entry that has none.

Guarantees that a database which is wrong everywhere costs no more memory than one that is right: beyond
`MAX_KEPT` findings are counted alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from signerd.adapters.store.state.compared import Differs
from signerd.errors import Fault

MAX_KEPT = 1_000  # findings


class Remedy(StrEnum):
    """What to do, in the words that are printed."""

    RESTORE = (
        "keep a copy of the database and restore a backup: docs/operations.md,"
        ' "The tables are not what the ledger says"'
    )
    ENTRY = 'keep a copy of the database: docs/operations.md, "An entry was altered"'
    SECOND_PLACE = 'docs/operations.md, "The second place is lost"'
    BACKUP = 'docs/operations.md, "A backup was restored"'
    REGISTER = (
        "signerd refuses these chips. Enter them again once you know how they came here: docs/operations.md,"
        ' "The tables are not what the ledger says"'
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the database that the ledger does not bear out, or the other way round."""

    table: str
    row: str  # which, in words
    what: str
    entry: int | None = None  # the one that it does not agree with
    remedy: Remedy = Remedy.RESTORE
    # What is missing would keep a chip, an anchor or a key from being certified again.
    again: bool = False

    def __str__(self) -> str:
        entry = "" if self.entry is None else f" (ledger entry {self.entry})"
        return f"{self.table}, {self.row}: {self.what}{entry}"


@dataclass(slots=True)
class Found:
    """The findings, what was counted, and what nothing can be compared with."""

    findings: list[Finding] = field(default_factory=list)
    total: int = 0  # of findings
    again: bool = False  # one of them is so
    counts: Counter[str] = field(default_factory=Counter)  # rows and entries that were compared
    unproven: Counter[str] = field(
        default_factory=Counter
    )  # rows that no entry can bear out, by what they are

    def add(
        self,
        table: str,
        row: str,
        what: str,
        entry: int | None = None,
        *,
        remedy: Remedy = Remedy.RESTORE,
        again: bool = False,
    ) -> None:
        """One more."""
        self.total += 1
        self.again |= again
        if len(self.findings) < MAX_KEPT:
            self.findings.append(Finding(table, row, what, entry, remedy, again))

    @contextmanager
    def comparing(self, table: str, row: str, *, again: bool = False) -> Iterator[None]:
        """What a comparison raises is a finding. `table` and `row`: where it does not say."""
        try:
            yield
        except Differs as error:
            self.add(error.table, error.key, error.what, error.index, again=again)
        except Fault as error:
            self.add(table, row, error.detail, again=again)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            self.add(table, row, f"it is damaged: {type(error).__name__}: {error}", again=again)

    def missing_row(self, index: int, kind: str, data: bytes) -> None:
        """An entry of a board has no row. Without that of `issued`, chip and key could be certified again."""
        said = json.loads(data)
        board = f"board {said.get('serial_number')}, chip {said.get('chip_id')}"
        self.add("records", board, f"no row has what the {kind} entry says", index, again=kind == "issued")
