"""Successors of the log: a log that lost its end goes on under another name (`birthmark.proof.succession`).

That it does is a finding of its own, which stands until somebody says why: entries are lost, and boards may
be without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509

from auditor.core.books import Books
from auditor.core.codes import Code
from auditor.core.entry import LogSucceeded
from auditor.core.findings import Finding
from birthmark.proof import ProofError, Succession


def origin_at(books: Books, log: str, size: int) -> str:
    """The name under which the tree of this size is signed; `log`: that of the log as it was opened."""
    numbers = [number for index, number in books.totals.successions if index < size]
    return f"{log}/successor-{numbers[-1]}" if numbers else log


def said_by(entry: LogSucceeded, log: str) -> Succession:
    """The statement in an entry, for its signature. `log`: the name of the log as it was opened."""
    return Succession(
        log,
        entry.number,
        entry.continued,
        entry.root,
        entry.predecessors,
        entry.signature,
        entry=b"",
        receipt=b"",
    )


def words_of(index: int, entry: LogSucceeded, log: str) -> str:
    """What a reader of a production file is to know of it."""
    lost = said_by(entry, log).lost
    return (
        f"the log lost its end and goes on as {entry.origin} from entry {index} on: {lost} entries of before"
        " are lost, and boards that were certified in them are in no count"
    )


def check_succeeded(
    books: Books, index: int, entry: LogSucceeded, log: str, cas: Sequence[x509.Certificate], pinned: int
) -> Iterator[Finding]:
    """A higher number, signed by an operations CA, from the entries that stand before it. `pinned`: up to
    this one the log's key was pinned under its name, and the CA of then may be trusted no more."""
    known = books.totals.successions
    said = said_by(entry, log)
    number = known[-1][1] if known else 1
    problems = []
    if entry.number <= number:
        problems.append(f"number {entry.number} after {number}")
    if entry.number != len(entry.predecessors) + 1 or entry.origin != said.origin:
        problems.append("its name or number is not what follows from the logs before")
    if index - entry.continued not in (0, 1):  # an approval is an entry before it
        problems.append("it goes on from another place than it stands at")
    if any(each.continued > min(each.size, entry.continued) for each in entry.predecessors):
        problems.append("more entries go on than there were")
    try:
        if entry.number > pinned:
            said.demand_signed(cas)
    except ProofError as error:
        problems.append(str(error))
    for problem in problems:
        yield Finding(Code.SUCCESSION_HISTORY, problem, index, found=entry.origin)
    if entry.number > number:
        known.append([index, entry.number])
    last = entry.predecessors[-1]
    yield Finding(
        Code.LOG_SUCCEEDED,
        f"the log lost its end and goes on under another name: {said.lost} entries of it are lost",
        index,
        None,
        f"size {last.size}, root {last.root.hex()}",
        f"{entry.origin}, from {last.continued} entries on",
    )
