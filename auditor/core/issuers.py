"""Which certificates issue, as the ledger says: a product names a CA, and a CA has issuers in succession.

    known = replay(entries)                     # the issuers up to some entry, by name
    known["main"].active_at(index)

The issuer of entry 0 is active from there on. At most one of a CA is, and only it issues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from auditor.core.codes import Code
from auditor.core.entry import (
    Entry,
    IntentAbandoned,
    IssuerActivated,
    IssuerAdded,
    IssuerRetired,
    LogOpened,
)
from auditor.core.findings import Finding

FIRST = "main"  # the CA of entry 0, and its issuer
KINDS = tuple(kind.type for kind in (LogOpened, IssuerAdded, IssuerActivated, IssuerRetired))


@dataclass(slots=True)
class KnownIssuer:
    """One of them."""

    name: str
    ca: str
    certificate_sha256: bytes
    root_sha256: bytes
    index: int  # of the entry that announced it
    spans: list[tuple[int, int | None]] = field(default_factory=list)  # of entries while it was active
    retired: bool = False

    @property
    def active(self) -> bool:
        """As of the last entry that was replayed."""
        return bool(self.spans) and self.spans[-1][1] is None

    def active_at(self, index: int) -> bool:
        """Whether an `issued` entry of this index may be of its certificate."""
        return any(begin <= index and (end is None or index < end) for begin, end in self.spans)

    def end(self, index: int) -> None:
        """Another one took over."""
        if self.active:
            self.spans[-1] = (self.spans[-1][0], index)


Known = dict[str, KnownIssuer]


def replay(entries: Iterable[tuple[int, Entry]]) -> Known:
    """The issuers, of entries of the types `KINDS` with their index, ascending."""
    known: Known = {}
    for index, entry in entries:
        if isinstance(entry, LogOpened):
            first = KnownIssuer(FIRST, FIRST, entry.issuer_sha256, entry.root_sha256, index, [(index, None)])
            known[FIRST] = first
        elif isinstance(entry, IssuerAdded):
            issuer = KnownIssuer(entry.issuer, entry.ca, entry.certificate_sha256, entry.root_sha256, index)
            known.setdefault(entry.issuer, issuer)
        elif isinstance(entry, IssuerActivated) and entry.issuer in known:
            for other in known.values():
                if other.ca == known[entry.issuer].ca:
                    other.end(index)
            known[entry.issuer].spans.append((index, None))
        elif isinstance(entry, IssuerRetired) and entry.issuer in known:
            known[entry.issuer].end(index)
            known[entry.issuer].retired = True
    return known


def check_added(known: Known, index: int, entry: IssuerAdded, pinned: frozenset[str]) -> Iterator[Finding]:
    """`known` is of the entries before. `pinned`: SHA-256 of the auditor's roots, hexadecimal."""
    if entry.issuer in known:
        yield _finding(index, "an issuer of this name was announced before", entry.issuer)
    for issuer in known.values():
        if issuer.certificate_sha256 == entry.certificate_sha256:
            yield _finding(index, f"the certificate of issuer {issuer.name} again", entry.issuer)
    if entry.root_sha256.hex() not in pinned:
        detail = (
            "an issuer below a root that is not pinned: add it to trust.device_root if it is the company's"
        )
        yield Finding(
            Code.LOG_IDENTITY, detail, index, None, ", ".join(sorted(pinned)), entry.root_sha256.hex()
        )


def check_changed(known: Known, index: int, entry: IssuerActivated | IssuerRetired) -> Iterator[Finding]:
    """`known` is of the entries before."""
    issuer = known.get(entry.issuer)
    if issuer is None:
        yield _finding(index, "no issuer of this name was announced", entry.issuer)
        return
    if (issuer.ca, issuer.certificate_sha256) != (entry.ca, entry.certificate_sha256):
        yield _finding(index, f"another CA or certificate than entry {issuer.index} announced", entry.issuer)
    if issuer.retired:
        yield _finding(index, "the issuer was retired before", entry.issuer)
    elif issuer.active:
        what = "retired while it is active" if isinstance(entry, IssuerRetired) else "active already"
        yield _finding(index, f"the issuer is {what}", entry.issuer)


def check_abandoned(known: Known, index: int, entry: IntentAbandoned) -> Iterator[Finding]:
    """`known` is of the entries before."""
    issuer, successor = known.get(entry.issuer), known.get(entry.successor)
    if issuer is None or successor is None or issuer.ca != successor.ca:
        yield _finding(index, "an intent abandoned for another issuer than one of its CA", entry.successor)
    elif issuer.active or not successor.active:
        yield _finding(index, "an intent abandoned for an issuer that is not active", entry.successor)


def _finding(index: int, detail: str, found: Any) -> Finding:
    return Finding(Code.ISSUER_HISTORY, detail, index, None, "", str(found))
