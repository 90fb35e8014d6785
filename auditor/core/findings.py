"""What an audit finds (docs/auditing.md). `auditor.core.codes` has the kinds."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.core.codes import Code
from auditor.errors import CheckFailed


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is off. `index` is the ledger entry's, `serial_number` the board's, where known."""

    code: Code
    detail: str
    index: int | None = None
    serial_number: str | None = None
    expected: str = ""
    found: str = ""


class Rejected(Exception):  # noqa: N818 (an outcome of checking, not an error of ours)
    """What signerd shows is not the log: nothing of it can be kept but this finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.code.value}: {finding.detail}")
        self.finding = finding


def finding_of(error: CheckFailed, *, index: int | None = None, serial_number: str | None = None) -> Finding:
    """The finding that a failed check amounts to."""
    return Finding(error.code, error.detail, index, serial_number, error.expected, error.found)
