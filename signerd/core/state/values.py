"""What entries say of one thing each. `index` is that of the entry that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from signerd.core.names import PeerName


class StateError(Exception):
    """Entries that do not follow from those before them. The text says which, without its index."""


@dataclass(frozen=True, slots=True)
class Opened:
    """`log_opened`: whose log this is."""

    deployment: str
    origin: str
    vkey: str


@dataclass(frozen=True, slots=True)
class KeysAt:
    """`keys_committed`: where first key and chip master key are, and who opens what is sealed."""

    index: int
    recipients: tuple[bytes, ...]  # SHA-256 of each SubjectPublicKeyInfo
    checkpoint: str
    chip_master: str
    chip_master_commitment: bytes | None


@dataclass(frozen=True, slots=True)
class Peer:
    """One key of a peer. A peer that was renewed with another key has several, the newest of which is not
    `renewed`; one that was revoked may have come back with a newer one."""

    name: PeerName
    spki_sha256: bytes
    index: int
    added_at: datetime
    revoked_at: datetime | None = None
    renewed: bool = False  # another key took its place, beside which it goes on to its end
    automatic: bool = False

    @property
    def newest(self) -> bool:
        """Whether it is the one that the peer has now."""
        return self.revoked_at is None and not self.renewed


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a product."""

    product: str
    sha256: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Terms:
    """A work order, as `order_opened` has it. The settings are known by their SHA-256."""

    work_order: str
    product: str
    product_sha256: bytes
    quantity: int
    not_before: datetime
    not_after: datetime
    stations: tuple[str, ...]
    level: str
    minimum_firmware: Mapping[str, str]
    serial_pattern: str
    serial_start: int
    reissue: str
    settings_sha256: bytes
    bundle_sha256: bytes | None
    firmware: Mapping[str, tuple[str, bytes]]
    index: int
    closed: int | None = None  # the index of `order_closed`

    def open_at(self, moment: datetime) -> bool:
        """Whether boards may be made for it."""
        return self.closed is None and self.not_before <= moment <= self.not_after


@dataclass(frozen=True, slots=True)
class NamedList:
    """Chips or identities that one entry names by a digest (`entry.digest_chips`, `digest_identities`)."""

    index: int
    count: int
    sha256: bytes
    of: tuple[str, ...]  # the work order; key, site and by of a personalization; product and method
    locked: bool = False
