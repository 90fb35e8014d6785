"""Is this certificate in the ledger, where, and what came of it? Answered from entries as they stream by.

    search = Search([Subject("board.pem", digest, None), Subject("SN-000042", None, "SN-000042")])
    for index, data in enumerate(entries):
        search.take(index, data)
    search.answers()

Whether the entries are those of a verified tree is the caller's to prove. Only entries that speak of what is
asked for are read as such: a million others cost no more than a look for their digest and serial number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from auditor.core.entry import Issued, Revoked, Stamped, parse_entry

_CERTIFICATE = re.compile(rb'"certificate_sha256":"([0-9a-f]{64})"')  # as RFC 8785 spells it
_BOARD = re.compile(rb'"serial_number":"([A-Za-z0-9._:-]{1,64})"')


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked for: a certificate, or all certificates of a board. With both, it is the certificate if
    there is one of this digest, and else the board."""

    asked: str  # as the user wrote it
    certificate_sha256: bytes | None
    serial_number: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate that is in the ledger. Indexes are those of its entries, None where none was seen."""

    certificate_sha256: bytes
    serial_number: str
    chip_id: str
    work_order: str
    issued_index: int | None
    stamped_index: int | None = None
    revoked_index: int | None = None
    reason: str | None = None  # of the revocation, where its entry was read
    superseded_by: bytes | None = None  # SHA-256 of the board's next certificate

    @property
    def state(self) -> str:
        """`issued`, `stamped`, `revoked`, or `superseded`: revoked, and the board has a newer one."""
        if self.revoked_index is not None:
            return "revoked" if self.superseded_by is None else "superseded"
        return "issued" if self.stamped_index is None else "stamped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ledger says of one subject. No standing: it is not in it."""

    subject: Subject
    standings: tuple[Standing, ...]  # in the order of issuing


class Search:
    """Looks for subjects. `known`: what earlier entries were found to say of their boards."""

    def __init__(self, subjects: Sequence[Subject], known: Iterable[Standing] = ()) -> None:
        self._subjects = tuple(subjects)
        self._digests = {one.certificate_sha256 for one in subjects if one.certificate_sha256 is not None}
        self._boards = {one.serial_number for one in subjects if one.serial_number is not None}
        self._found: dict[bytes, Standing] = {}
        self._of_board: dict[str, list[bytes]] = {}  # in the order of issuing
        for standing in known:
            self._add(standing)

    def take(self, index: int, data: bytes) -> None:
        """Looks at one entry, in the ledger's order.

        Raises:
            CheckFailed: it speaks of what is asked for, and is no entry.
        """
        if not self._is_mentioned(data):
            return
        entry = parse_entry(data)
        if isinstance(entry, Issued):
            if entry.certificate_sha256 in self._digests or entry.serial_number in self._boards:
                self._add(_issued(index, entry))
            return
        before = self._found.get(entry.certificate_sha256) if isinstance(entry, Stamped | Revoked) else None
        if before is None:
            return
        if isinstance(entry, Stamped):
            self._found[before.certificate_sha256] = replace(before, stamped_index=index)
        elif isinstance(entry, Revoked):
            self._found[before.certificate_sha256] = replace(before, revoked_index=index, reason=entry.reason)

    def answers(self) -> list[Answer]:
        """One for each subject, in their order."""
        return [Answer(subject, tuple(self._of(subject))) for subject in self._subjects]

    def _is_mentioned(self, data: bytes) -> bool:
        digests = _CERTIFICATE.findall(data)
        if any(bytes.fromhex(found.decode()) in self._digests for found in digests):
            return True
        return any(found.decode() in self._boards for found in _BOARD.findall(data))

    def _add(self, standing: Standing) -> None:
        """And looks for its board from here on, whose next certificate tells what it was superseded by."""
        if standing.certificate_sha256 in self._found:
            return  # entered twice: `verify` has a finding, and the first entry is where it is
        self._found[standing.certificate_sha256] = standing
        self._of_board.setdefault(standing.serial_number, []).append(standing.certificate_sha256)
        self._boards.add(standing.serial_number)

    def _of(self, subject: Subject) -> Iterator[Standing]:
        found = None if subject.certificate_sha256 is None else self._found.get(subject.certificate_sha256)
        serial_number = subject.serial_number if found is None else found.serial_number
        board = [] if serial_number is None else self._of_board.get(serial_number, [])
        for place, digest in enumerate(board):
            standing = self._found[digest]
            later = board[place + 1] if place + 1 < len(board) else None
            if found is None or found is standing:
                yield standing if standing.revoked_index is None else replace(standing, superseded_by=later)


def of_entry(index: int, data: bytes) -> Standing | None:
    """What one entry alone shows of a certificate; None where it speaks of none.

    Raises:
        CheckFailed: it is no entry.
    """
    entry = parse_entry(data)
    if isinstance(entry, Issued):
        return _issued(index, entry)
    if not isinstance(entry, Stamped | Revoked):
        return None
    names = (entry.certificate_sha256, entry.serial_number, entry.chip_id, entry.work_order)
    if isinstance(entry, Stamped):
        return Standing(*names, None, stamped_index=index)
    return Standing(*names, None, revoked_index=index, reason=entry.reason)


def _issued(index: int, entry: Issued) -> Standing:
    return Standing(
        entry.certificate_sha256, entry.serial_number, entry.chip_id, entry.work_order, issued_index=index
    )
