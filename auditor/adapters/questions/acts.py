"""The question about administrators: who did what, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from typing import Any

from auditor.adapters.questions.reading import Reading, Rows, moment_text
from auditor.core.entry import ActionApproved, reread_entry
from auditor.core.questions.periods import Period
from auditor.core.ssh_signature import signing_key
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound

_ACT = "idx, at, type, actor, approvers, about"
_Row = tuple[Any, ...]


def acts(reading: Reading, *, person: str, act: str, period: Period) -> Rows:
    """Acts in the order of their times.

    Args:
        reading: of the state.
        person: who did or approved them; empty: anybody, also where nobody was named.
        act: of this type of entry alone; empty: of all.
        period: in which they were done.

    Raises:
        NotFound: nobody of this name did or approved anything.
        ConfigError: the state is damaged.
    """
    off: Counter[int] = Counter()
    for index, count in reading.db.execute(
        "SELECT idx, count(*) FROM findings WHERE idx IS NOT NULL GROUP BY idx"
    ):
        off[index] = count
    rows = _of_person(reading, person, period) if person else _all(reading, period)
    for row in rows:
        if not act or reading.name(row[2]) == act:
            yield _told(reading, row, off)


def _all(reading: Reading, period: Period) -> Iterator[_Row]:
    query = f"SELECT {_ACT} FROM acts INDEXED BY act_time WHERE at >= ? AND at < ? ORDER BY at, idx"  # noqa: S608
    return reading.rows(query, (period.start, period.end))


def _of_person(reading: Reading, person: str, period: Period) -> Iterator[_Row]:
    """Those that the person did, and those that he or she approved, each once."""
    number = reading.words.known(person)
    sources = []
    for column, index, numbers in (
        ("actor", "act_actor", [number]),
        ("approvers", "act_approvers", _approving(reading, person)),
    ):
        query = (
            f"SELECT {_ACT} FROM acts INDEXED BY {index}"  # noqa: S608 (constants)
            f" WHERE {column} = ? AND {column} != 0 AND at >= ? AND at < ? ORDER BY at, idx"
        )
        known = [each for each in numbers if _any(reading, column, each)]
        sources += [reading.rows(query, (each, period.start, period.end)) for each in known]
    if not sources:
        raise NotFound(f"the verified ledger has no act of {person}; `verify` reads what is new")
    for _, same in groupby(merge(*sources, key=lambda row: (row[1], row[0])), key=lambda row: row[0]):
        yield next(same)


def _any(reading: Reading, column: str, number: int) -> bool:
    query = f"SELECT 1 FROM acts WHERE {column} = ? AND {column} != 0 LIMIT 1"  # noqa: S608 (constants)
    return reading.db.execute(query, (number,)).fetchone() is not None


def _approving(reading: Reading, person: str) -> list[int]:
    """Words for groups of approvers that the person belongs to: by skipping from one to the next."""
    query = "SELECT min(approvers) FROM acts INDEXED BY act_approvers WHERE approvers > ? AND approvers != 0"
    found, last = list[int](), 0
    while last is not None:
        (last,) = reading.db.execute(query, (last,)).fetchone()
        if last is not None and person in reading.words.word(last).split(" "):
            found.append(last)
    return found


def _told(reading: Reading, row: _Row, off: Counter[int]) -> dict[str, Any]:
    index, at, kind, actor, approvers, about = row
    approvals = _approvals(reading, index) if approvers else []
    return {
        "at": moment_text(at),
        "by": reading.name(actor),
        "act": reading.name(kind),
        "about": about,
        "approved_by": [each["administrator"] for each in approvals],
        "approvals": approvals,
        "findings": off[index] + (off[index - 1] if approvers else 0),
        "entry": index,
    }


def _approvals(reading: Reading, index: int) -> list[dict[str, Any]]:
    """Who signed the entry right before, and with which key."""
    row = reading.db.execute("SELECT data FROM entries WHERE idx = ?", (index - 1,)).fetchone()
    try:
        entry = None if row is None else reread_entry(row[0])
    except CheckFailed as error:
        raise ConfigError("the state is damaged: move it away and verify anew") from error
    if not isinstance(entry, ActionApproved):
        raise ConfigError("the state is damaged: move it away and verify anew")
    return [
        {"administrator": each.administrator, "key": _key(each.sshsig), "entry": index - 1}
        for each in entry.signatures
    ]


def _key(sshsig: bytes) -> str | None:
    """Its fingerprint, as `ssh-keygen -l` prints it; None where the bytes are no signature: a finding."""
    try:
        return signing_key(sshsig)
    except Malformed:
        return None
