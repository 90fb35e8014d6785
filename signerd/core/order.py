"""Work orders: what was ordered, where, when, and on which terms. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from signerd.core.names import Level, Reissue


@dataclass(frozen=True, slots=True)
class FirmwareBundle:
    """The firmware that an order's boards are flashed with."""

    sha256: bytes  # of its manifest; stations are told it
    firmware: Mapping[str, tuple[str, bytes]]  # component -> version and SHA-256 in each stamp; may be empty
    # What it is made for, as the order's file says; looked at when the order is opened, and not kept.
    chip: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """The terms of a work order, as opened. `not_before` and `not_after` are aware, UTC, whole seconds."""

    work_order: str
    product: str
    product_sha256: bytes  # of the product's revision at opening; later revisions do not touch the order
    quantity: int
    not_before: datetime
    not_after: datetime
    stations: tuple[str, ...]  # peer URIs
    level: Level
    minimum_firmware: Mapping[str, str]
    serial_pattern: str
    serial_start: int
    reissue: Reissue
    settings: bytes  # canonical CBOR map without "serial"
    bundle: FirmwareBundle | None
    # Of the quantity, by key holders' services, as the order's file says; for the ledger, and not kept.
    shares: Mapping[str, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Share:
    """Places of an order that another key holder's service is to certify."""

    work_order: str
    giver: str
    taker: str
    places: int


@dataclass(frozen=True, slots=True)
class Place:
    """One board's place in a work order: everything about its certificate that is not its key.

    `moment` is when the place was taken: the certificate's notBefore. A resumed intent keeps it, so that
    the same place and key always give the same bytes.
    """

    work_order: str
    product: str
    chip_id: str
    number: int  # from 1, without gaps, sticky per chip within the order
    serial_number: str  # the board's, sticky per chip
    certificate_serial: int  # positive, at most 20 octets (RFC 5280 §4.1.2.2)
    moment: datetime
