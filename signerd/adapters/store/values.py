"""What the store hands out beside the values of `signerd.ports`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from signerd.core.order import WorkOrder
from signerd.ports import Record, RecordState


@dataclass(frozen=True, slots=True)
class ProductRevision:
    """One revision of a product; `sha256` is that of the TOML's UTF-8 bytes."""

    name: str
    sha256: bytes
    toml: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """How far a work order is. Superseded certificates count in `issued`, `stamped` and `revoked`."""

    places: int  # chips that took a place, open intents included
    issued: int  # certificates made
    stamped: int  # of these, with a stamp
    revoked: int  # of these, revoked
    open_intents: int  # neither completed nor superseded


@dataclass(frozen=True, slots=True)
class OrderState:
    """A work order as it stands."""

    order: WorkOrder
    closed: bool
    opened_index: int
    counts: OrderCounts


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records `find_records` gives: all that agree with every value that is not None."""

    work_order: str | None = None
    chip_id: str | None = None
    serial_number: str | None = None
    state: RecordState | None = None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records by ascending id; `more` says that further ones match."""

    records: tuple[Record, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """A line of a CRL. `reason` is a CRLReason name (RFC 5280 §5.3.1)."""

    certificate_serial: int
    revoked_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Personalization:
    """When, where and by whom a chip was given which secret. `by` is empty where it was not noted yet."""

    key: str
    locked: bool
    site: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ImportedIdentity:
    """An attestation key that was imported for a chip."""

    product: str
    method: str
    key_id: bytes
    spki_sha256: bytes
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class KnownChip:
    """All that administrators entered of a chip."""

    chip_id: str
    personalized: Personalization | None
    identities: tuple[ImportedIdentity, ...]
    work_orders: tuple[str, ...]  # on whose list it stands


@dataclass(frozen=True, slots=True)
class ChipPage:
    """Chips by ascending id; `more` says that there are further ones."""

    chips: tuple[KnownChip, ...]
    more: bool
