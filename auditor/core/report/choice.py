"""Which entries of the log a production file has.

    Concern(products, stations).has(entry)           # of the entries before: keys, issuers, product, stations
    is_of_order(data, needle_of("WO-1"))             # of those from the order's opening on

What a report is about is chosen by the entries alone, so that two auditors of one log choose the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from auditor.core.clock import SKEW
from auditor.core.entry import (
    AdministratorsSet,
    CheckpointKeyActivated,
    CheckpointKeyAdded,
    CheckpointKeyRetired,
    ChipsPersonalized,
    ClockAccepted,
    Entry,
    IdentitiesImported,
    IssuerActivated,
    IssuerAdded,
    IssuerRetired,
    KeysCommitted,
    LogOpened,
    LogSucceeded,
    ProductAdded,
    StationAdded,
    StationRenewed,
    StationRevoked,
)
from auditor.core.forms import time_text

_ALWAYS = (
    LogOpened,
    LogSucceeded,
    KeysCommitted,
    IssuerAdded,
    IssuerActivated,
    IssuerRetired,
    AdministratorsSet,
    CheckpointKeyAdded,
    CheckpointKeyActivated,
    CheckpointKeyRetired,
    ClockAccepted,
    ChipsPersonalized,
)
_OF_PRODUCTS = (ProductAdded, IdentitiesImported)
_OF_STATIONS = (StationAdded, StationRenewed, StationRevoked)
EARLY = tuple(kind.type for kind in (*_ALWAYS, *_OF_PRODUCTS, *_OF_STATIONS))
_APPROVAL = b'"type":"action_approved"'
_TIME = re.compile(rb'"time":"([0-9TZ:-]{20})"')


@dataclass(frozen=True, slots=True)
class Concern:
    """Products and stations of the orders that a report is about; None: all."""

    products: frozenset[str] | None
    stations: frozenset[str] | None

    def has(self, entry: Entry) -> bool:
        """Whether an entry of a type of `EARLY` belongs into the report."""
        if isinstance(entry, _OF_PRODUCTS):
            return self.products is None or entry.product in self.products
        if isinstance(entry, _OF_STATIONS):
            return self.stations is None or entry.peer in self.stations
        return True


def is_of_order(data: bytes, needle: bytes) -> bool:
    """Whether an entry names the order as its member `work_order`. In canonical JSON these bytes stand in no
    text: its quotation marks would be escaped."""
    return needle in data


def needle_of(work_order: str) -> bytes:
    """What `is_of_order` looks for."""
    return f'"work_order":"{work_order}"'.encode()


def is_approval(data: bytes) -> bool:
    """Whether the entry approves the one that follows it."""
    return _APPROVAL in data


@dataclass(frozen=True, slots=True)
class Window:
    """A time, and around it what clocks may be apart (`auditor.core.clock`)."""

    begin: datetime
    end: datetime  # not of it any more

    def near(self, data: bytes) -> int:
        """-1, 0 or 1: the entry is from before the time, of it, or from after it."""
        found = _TIME.findall(data)
        if not found:
            return 0  # no entry that can be read: kept, where it stands
        moment = found[-1].decode()  # as texts of one form, times compare as they are
        if moment < time_text(self.begin - SKEW):
            return -1
        return 1 if moment > time_text(self.end + SKEW) else 0
