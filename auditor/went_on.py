"""Does a successor of the log begin with the entries that were verified of the log before?

A state that is about to forget a part of the log that is lost still knows the rest: a hash for each 256
entries, and of those after the last whole bundle what it keeps of entries and certificates. So a loss is no
excuse for another past.
"""

from __future__ import annotations

from auditor.core.codes import Code
from auditor.core.entry import NOT_KEPT, TYPES, Issued, Revoked, Stamped, parse_entry
from auditor.core.findings import Finding, Rejected
from auditor.core.growth import BUNDLE, Growth, leaf_hashes
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.head import check_prefix, is_prefix
from auditor.ports import Log, State
from birthmark.proof import Checkpoint


def check_went_on(log: Log, state: State, head: Checkpoint, size: int, growth: Growth) -> None:
    """Compares the first `size` entries of the head's tree with those that were verified. `growth`: of the
    state.

    Raises:
        Rejected: SUCCESSION_HISTORY: they are others. CONTINUATION, PROOF_MALFORMED: of the head nothing is
            shown.
        Unreachable: the log does not answer.
    """
    if size == growth.size:
        check_prefix(log, head, size, growth.root())
        return
    part = Growth.empty()
    for number in range(size // BUNDLE):
        part.extend_by(state.bundle(number))
    begin = part.size
    check_prefix(log, head, begin, part.root())
    if begin == size:
        return
    try:
        entries = list(log.entries(begin, size))
    except (Malformed, NotFound):
        entries = []
    part.extend(leaf_hashes(entries))
    if part.size != size or not is_prefix(log, head, size, part.root()):
        raise Rejected(Finding(Code.CONTINUATION, "the successor's entries are not those of its head"))
    kept = dict(state.entries(begin, kinds=TYPES))
    for index, data in enumerate(entries, begin):
        if index in kept and kept[index] == data:
            continue
        if index in kept or not _is_known(state, index, data):
            detail = f"the successor has another entry {index} than was verified: no loss explains it"
            raise Rejected(Finding(Code.SUCCESSION_HISTORY, detail, index))


def _is_known(state: State, index: int, data: bytes) -> bool:
    """Of an entry of which no copy is kept: whether the books know its certificate as this one's."""
    known = state.certificate_at(index)
    try:
        entry = parse_entry(data)
    except CheckFailed:
        return known is None  # no entry that counts: a finding, then and now
    if isinstance(entry, Issued) and known is not None:
        return known.certificate_sha256 == entry.certificate_sha256
    if known is not None or entry.type not in NOT_KEPT:
        return False
    if isinstance(entry, Issued):  # a second one, which is a finding that was kept
        return any(item.finding.index == index for item in state.findings())
    if isinstance(entry, Stamped | Revoked):
        return state.certificate(entry.certificate_sha256) is not None
    return True
