"""What the history of a log adds up to: the state that entries are checked against.

`Books` is the port behind which it is kept; all its answers come from entries that were applied before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from auditor.core.anchors import Anchor
from auditor.core.entry import (
    AdministratorsEntry,
    AdministratorsSet,
    Issued,
    KeysCommitted,
    LogOpened,
    OrderOpened,
    RefusedCall,
    Stamped,
)
from auditor.core.issuers import Known


class Basis(Enum):
    """What a certificate's evidence rests on, as far as this auditor could tell from its record."""

    SIGNATURE = "signature"  # verified here again
    MAC = "mac"  # only signerd can
    WORD = "word"  # the station's: there is none
    UNCHECKED = "unchecked"  # no record, or no product file, to verify it with
    FALSE = "false"  # it does not hold


@dataclass(frozen=True, slots=True)
class PeerState:
    """A peer that was added. `revoked_at` None: it may call."""

    uri: str
    spki_sha256: bytes
    revoked_at: datetime | None


@dataclass(slots=True)
class OrderState:
    """A work order and what was counted on it."""

    terms: OrderOpened
    opened_index: int
    closed_at: datetime | None = None
    places: int = 0  # distinct chips
    highest: int = 0  # highest place number
    unproved: int = 0  # distinct chips without evidence
    imported: int = 0  # chips on its list
    stamped: int = 0
    revoked: int = 0
    certificates: int = 0
    stamped_revoked: int = 0  # certificates that are both
    refused: int = 0  # calls that named it
    at_close: dict[str, int] = field(
        default_factory=dict
    )  # these counts when it was closed; empty: it is open

    def counts(self) -> dict[str, int]:
        """What it comes to now."""
        return {
            "boards": self.places, "certificates": self.certificates, "stamped": self.stamped,
            "revoked": self.revoked, "stamped_revoked": self.stamped_revoked, "refused": self.refused,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class CertificateState:
    """One `issued` entry and what came after it."""

    index: int
    certificate_sha256: bytes
    work_order: str
    number: int
    chip_id: str
    serial_number: str
    stamped_index: int | None
    revoked_index: int | None
    counted: str  # what its chip must have been counted under, and its level: `name/level`; may be empty
    method: str
    chip: int  # the object that it is of, whatever its names: index of its first `issued` entry


@dataclass(frozen=True, slots=True)
class IntentState:
    """An `intent_open` entry. `resolved` once its place has a certificate."""

    index: int
    work_order: str
    number: int
    chip_id: str
    serial_number: str
    since: datetime
    resolved: bool


@dataclass(slots=True)
class Totals:
    """Counts over the whole log."""

    form: int = 1  # of entries, the highest so far
    last_time: datetime | None = None  # the latest time of an entry since a clock was accepted last
    ahead_until: datetime | None = None  # the latest time that an accepted clock went back from
    known: dict[str, int] = field(default_factory=dict)
    # Chips that were personalized or whose identities were imported, by what they are counted under
    # (`auditor.core.counting`).
    locked: dict[str, int] = field(default_factory=dict)  # of those personalized, the locked ones
    shown: dict[str, int] = field(default_factory=dict)  # distinct chips whose evidence rests on such a count
    shown_locked: dict[str, int] = field(default_factory=dict)  # of those with a chip key, at level "key"
    certificates: int = 0
    stamped: int = 0
    revoked: int = 0
    crl_number: int = -1
    refused: dict[str, int] = field(default_factory=dict)  # by code
    levels: dict[str, int] = field(default_factory=dict)  # certificates by level
    superseding: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    # chip id -> index of a `revoked` entry whose successor has yet to come, and that one's spki_sha256
    # Operations CAs by SHA-256, hexadecimal: what the log said of each last. The first has no entry until it
    # is retired.
    operations_cas: dict[str, str] = field(default_factory=dict)
    # Keys of the log after the first, by verifier key: indexes of the entries that added, activated and
    # retired each (`auditor.core.log_keys`). The first is here once it is retired.
    checkpoint_keys: dict[str, list[int | None]] = field(default_factory=dict)
    # Successors of the log: index of the entry, and its number (`auditor.core.successions`).
    successions: list[list[int]] = field(default_factory=list)
    approved: tuple[int, str, str] | None = None
    # of an `action_approved` entry whose action has yet to come: its index, the action, and its members
    approvals: dict[str, int] = field(default_factory=dict)
    # uses of approvals, by request and part -> index
    runs: dict[str, int] = field(default_factory=dict)
    # signerds that started and did not stop, the newest of them, by name, hexadecimal -> index of the start


class Books(Protocol):
    """The kept state. What is got is a copy, but for `totals` and orders: these are changed in place."""

    totals: Totals
    opened: LogOpened | None

    def add_id(self, entry_id: bytes, index: int) -> int | None:
        """Notes the id of an entry. The index of the entry that has it already, if there is one."""
        ...

    def add_run(self, run: bytes, index: int) -> int | None:
        """Notes the name of a signerd that started. The index of the entry that started one of this name
        before, if there is one."""
        ...

    def keys_committed(self, before: int) -> KeysCommitted | None:
        """The last `keys_committed` entry before this index."""
        ...

    def issuers(self, before: int) -> Known:
        """The issuers, as of the entries before this index."""
        ...

    def administrators(self, before: int) -> AdministratorsSet | None:
        """The last `administrators_set` entry before this index."""
        ...

    def peer(self, uri: str) -> PeerState | None:
        """The peer, revoked or not."""
        ...

    def put_peer(self, peer: PeerState) -> None:
        """Adds or changes a peer."""
        ...

    def has_product(self, product: str, product_sha256: bytes) -> bool:
        """True if this product, in this revision, was added."""
        ...

    def knows_product(self, product: str) -> bool:
        """True if any revision of this product was added."""
        ...

    def add_product(self, product: str, product_sha256: bytes) -> None:
        """Adds a revision of a product."""
        ...

    def order(self, work_order: str) -> OrderState | None:
        """The work order's state, to be changed in place."""
        ...

    def add_order(self, order: OrderState) -> None:
        """Adds a work order."""
        ...

    def owners(self, anchors: Sequence[Anchor]) -> dict[int, int]:
        """The chips that any of these anchors belongs to, each with the index of the entry that said so."""
        ...

    def add_anchors(self, anchors: Sequence[Anchor], chip: int, index: int) -> None:
        """Notes those that belong to no chip yet as this one's."""
        ...

    def has_anchors(self, chip: int) -> bool:
        """True if an entry of form 2 was of this chip."""
        ...

    def related(self, issued: Issued, chip: int) -> list[CertificateState]:
        """Certificates that share chip, serial number, place, key, certificate, serial or challenge
        with this entry, newest first, at most 16. Of an honest log: the chip's own earlier ones."""
        ...

    def newest_named(self, chip_id: str) -> CertificateState | None:
        """The newest certificate of this chip id."""
        ...

    def newest_numbered(self, serial_number: str) -> CertificateState | None:
        """The newest certificate of this board."""
        ...

    def certificate(self, certificate_sha256: bytes) -> CertificateState | None:
        """The certificate of this SHA-256."""
        ...

    def issued(self, index: int) -> Issued:
        """The `issued` entry of a certificate that these books returned. Raises Rejected where the log now
        hands over another one, Unreachable."""
        ...

    def other_chip_of(self, issued: Issued, chip: int) -> CertificateState | None:
        """The first certificate of another chip whose evidence the same attestation key signed."""
        ...

    def add_certificate(self, index: int, issued: Issued, chip: int) -> None:
        """Adds a certificate of this chip."""
        ...

    def stamped(self, certificate: CertificateState, index: int, entry: Stamped) -> None:
        """Notes its `stamped` entry, and the index of that."""
        ...

    def revoked(self, certificate: CertificateState, index: int) -> None:
        """Notes the index of its `revoked` entry."""
        ...

    def add_refusal(self, index: int, entry: RefusedCall) -> None:
        """Counts calls that were refused, by peer and day, and notes the chip that one named."""
        ...

    def add_act(self, index: int, entry: AdministratorsEntry) -> None:
        """Notes who did this. The entry before it, which may be its approval, was kept before."""
        ...

    def add_weak_key(self, index: int, certificate_sha256: bytes) -> None:
        """Notes that the entry of this index says that the certificate's key shares a prime."""
        ...

    def shift_times(self, after: datetime, by: timedelta) -> None:
        """Takes back every kept moment after this one: ends of orders and stations, beginnings of intents."""
        ...

    def intent(self, work_order: str, number: int) -> IntentState | None:
        """The newest `intent_open` entry of this place."""
        ...

    def put_intent(self, intent: IntentState) -> None:
        """Adds or changes an intent."""
        ...
