"""Looks again at what was verified before: each run at another share of it, so that all comes by in turn.

A run reads that share of the bundles anew, and holds each against the hash that is kept of it. It asks for
that share of the records anew, and judges them as at the first time, by the ledger's entries. A record that
is gone is in no page; so when a round has come to the last record, the certificates that it did not see are
asked for one by one.

    share 0.05: an entry or record that was altered is found within 20 runs, a record that was removed
    within 40 (it may have gone behind the place where the round stands)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from auditor.core.findings import Finding, Rejected
from auditor.core.growth import BUNDLE
from auditor.core.record import Record
from auditor.ports import State
from auditor.records import RecordRun
from auditor.reread import Reader

SHARE = 0.05  # of the entries and of the records, each run
_PAGE = 500  # certificates that are asked for at once


@dataclass(frozen=True, slots=True)
class Again:
    """What a run looked at again."""

    entries: int = 0
    records: int = 0
    rounds: int = 0  # that ended: all there was has come by once more


def round_of(state: State) -> int:
    """Which round of looking again is on: 0 or 1 by turns."""
    return state.look_again().get("round", 0)


def look_again(
    state: State,
    reader: Reader,
    records: RecordRun | None,
    share: float,
    old: int,
    commit: Callable[[Callable[[], None]], None],
    report: Callable[[Finding], None],
) -> Again:
    """One share.

    Args:
        state: the kept one.
        reader: of entries.
        records: a pass over records; None where the log has none.
        share: 0 to 1; 0 looks at nothing again.
        old: entries that an earlier run verified. Later ones were read just now.
        commit: what it is given is durable as a whole or not at all.
        report: is told what is off: an entry that is another one than before is, and all else is looked at.

    Raises:
        Unreachable: signerd stopped answering.
    """
    if share == 0 or old == 0:
        return Again()
    place = dict(state.look_again())
    bundles = _bundles(reader, share, old, place, state, commit, report)
    ended = records is not None and _records(state, records, share, place)
    commit(lambda: state.keep_look_again(place))
    return Again(bundles, 0 if records is None else records.records, int(ended))


def _bundles(
    reader: Reader,
    share: float,
    old: int,
    place: dict[str, int],
    state: State,
    commit: Callable[[Callable[[], None]], None],
    report: Callable[[Finding], None],
) -> int:
    """Reads bundles from the place on, and from the first one again after the last. One that is altered is
    reported, and the next ones are read all the same."""
    count = math.ceil(old / BUNDLE)
    begin, wanted = place.get("bundle", 0), math.ceil(count * share)
    read = 0
    for number in range(begin, begin + wanted):
        # A crash before or after: the next run goes on with this bundle or with the next one, and no bundle
        # keeps later ones from being read.
        try:
            read += len(reader.fetch(number % count))
        except Rejected as rejected:
            report(rejected.finding)
        place["bundle"] = (number + 1) % count
        commit(lambda: state.keep_look_again({**state.look_again(), "bundle": place["bundle"]}))
    return read


def _records(state: State, records: RecordRun, share: float, place: dict[str, int]) -> bool:
    """Judges records from the place on. True if the round came to its end."""
    wanted = math.ceil(state.totals.certificates * share)
    after = place.get("record_id", 0)
    if after == 0:
        kept = state.kept()
        place["until"] = 0 if kept is None else kept.record_id
        place["below"] = 0 if kept is None else kept.frontier.size
        place["round"] = 1 - place.get("round", 0)
    records.round = place["round"]
    until = place["until"]
    pages = _some(records.pages(after), wanted, until, place)
    records.again(pages)
    if place["record_id"] < until:
        return False
    unseen = state.unseen(place["below"], place["round"], _PAGE)
    while unseen:
        records.asked_one_by_one(unseen)
        records.settle_all()
        unseen = state.unseen(place["below"], place["round"], _PAGE)
    place["record_id"] = 0
    return True


def _some(
    pages: Iterator[tuple[int, Sequence[Record]]], wanted: int, until: int, place: dict[str, int]
) -> Iterator[tuple[int, Sequence[Record]]]:
    """So many records of the pages, up to this record id."""
    place["record_id"] = until  # where no page comes any more, the round is over
    for end, records in pages:
        old = [record for record in islice(records, wanted) if record.record_id <= until]
        wanted -= len(old)
        if len(old) < len(records):
            place["record_id"] = (
                old[-1].record_id if old and old[-1].record_id < until and wanted == 0 else until
            )
            yield end, old
            return
        yield end, old
        if wanted == 0:
            place["record_id"] = end
            return
