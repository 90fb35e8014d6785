"""Dates on which something stops, unless somebody acts before: certificates, CRLs, orders, products that can
no longer be ordered. "Nothing ends unannounced."
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

WARNED = timedelta(days=60)  # before the end: time for an order of a new certificate, and for a holiday
_NEVER = 9999  # the year of notAfter 99991231235959Z: "no well-defined expiration date" (RFC 5280 §4.1.2.5)


class What(StrEnum):
    """What ends."""

    SERVER = "server"
    OPERATIONS_CA = "operations_ca"
    SUB_CA = "sub_ca"
    ISSUER = "issuer"  # a CA above the sub-CA, below the root
    ROOT = "root"
    PEER = "peer"
    CRL = "crl"
    PRODUCT = "product"
    EVIDENCE_ROOT = "evidence_root"  # of a product: whom it trusts about chips
    ORDER = "order"  # an open work order's window


# What stops on that day, and the command or the deed that keeps it going.
_STOPS = {
    What.SERVER: ("stations and auditors cannot connect any more", "signerd server renew"),
    What.OPERATIONS_CA: (
        "no station and no auditor can connect any more, and none can be added",
        "signerd operations-ca add, in good time: each of them moves to the new one before",
    ),
    What.SUB_CA: (
        "it certifies no board any more, and verifiers take no CRL of it; boards' certificates end with it",
        "another issuer of its CA in good time: signerd ca request, add, activate",
    ),
    What.ISSUER: ("chains to boards' certificates end", "renew it where it was bought, with the same key"),
    What.ROOT: (
        "chains to boards' certificates end",
        "give verifiers its successor in good time",
    ),
    What.PEER: ("it cannot connect any more", "signerd station renew, signerd auditor renew"),
    What.CRL: ("verifiers refuse the CRL, some of them all boards", "signerd crl, from a timer"),
    What.PRODUCT: (
        "no order of it can be opened, and no board be certified any more",
        "a shorter validity_days, or an issuer that ends later: signerd ca add",
    ),
    What.EVIDENCE_ROOT: (
        "evidence below it is refused, so that boards of this product and method get no certificate",
        "ask its owner for the next one; a new revision of the product, and new orders: signerd product add",
    ),
    What.ORDER: (
        "no board of it gets a certificate any more",
        "another work order for those that are missing: signerd order show, open",
    ),
}


@dataclass(frozen=True, slots=True)
class End:
    """One of them. `name` tells those of a kind apart: a peer's URI, a product, a certificate's subject."""

    what: What
    name: str
    at: datetime

    @property
    def stops(self) -> str:
        """What stops."""
        return _STOPS[self.what][0]

    @property
    def remedy(self) -> str:
        """What to do before."""
        return _STOPS[self.what][1]

    @property
    def warned(self) -> timedelta:
        """How long before. A CRL is renewed from a timer, at half its period: it is due once that was missed
        by half. An order's window is as short as its owner planned it."""
        return timedelta(days=1) if self.what in (What.CRL, What.ORDER) else WARNED

    @property
    def known(self) -> bool:
        """False where there is no date: it does not end."""
        return self.at.year < _NEVER

    def days_left(self, now: datetime) -> int:
        """Whole days; negative once it is over."""
        return (self.at - now) // timedelta(days=1)


def in_order(ends: Iterable[End]) -> tuple[End, ...]:
    """Those that have a date, the next one first."""
    dated = (end for end in ends if end.known)
    return tuple(sorted(dated, key=lambda end: (end.at, end.what, end.name)))


def due(ends: Iterable[End], now: datetime) -> tuple[End, ...]:
    """Those to warn of, the next one first; those that are over among them."""
    return tuple(end for end in in_order(ends) if end.at - now < end.warned)
