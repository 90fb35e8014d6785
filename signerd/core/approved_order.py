"""A work order as administrators signed it, and whether a certificate is one of its.

Guarantees that `check_leaf` returns only for the very bytes that the order's product gives for a place of the
order: names, validity, extensions, key type, level and method, under an issuer of the CA that the product
names. How many there are already is not known here (`adapters/keyholder/service/noted_leaves.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from signerd.core import der
from signerd.core.key_policy import PublicKey, WeakKeyError, check_type
from signerd.core.leaf import DEVICE, Leaf
from signerd.core.names import FIRST, Level, Reissue, is_chip_id, is_name
from signerd.core.order_file import MAX_QUANTITY, MAX_SERIAL_START
from signerd.core.product import Product
from signerd.core.profile import Issuer, build_tbs, terms_of
from signerd.core.serial_number import parse_pattern

# Records of one chip over all orders. A genuine chip in hostile hands could have its certificate replaced
# without end, and each one replaced stays in the CRL.
MAX_RECORDS = 16
CLOCKS_DIFFER = timedelta(minutes=5)
_TEXTS = (
    *("work_order", "product", "product_sha256", "not_before", "not_after"),
    *("level", "serial_pattern", "reissue"),
)
_NUMBERS = {"quantity": range(1, MAX_QUANTITY + 1), "serial_start": range(MAX_SERIAL_START + 1)}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class LeafRefusedError(Exception):
    """It is no certificate of an approved order. The text says why; it goes to our log alone."""


class ShareUsedError(LeafRefusedError):
    """It is one, and this key holder has certified as many as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedOrder:
    """What an `order_opened` entry says, as far as certificates are concerned."""

    work_order: str
    product: str
    product_sha256: bytes
    quantity: int
    not_before: datetime
    not_after: datetime
    level: Level
    serial_pattern: str
    serial_start: int
    reissue: Reissue
    shares: Mapping[str, int] | None  # of the quantity, by key holder; None: all of it is `FIRST`'s

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        """Reads the members of the entry that was approved. Raises ValueError where they are not of their
        form."""
        try:
            _demand_form(members)
            order = cls(
                work_order=members["work_order"],
                product=members["product"],
                product_sha256=bytes.fromhex(members["product_sha256"]),
                quantity=members["quantity"],
                not_before=_moment(members["not_before"]),
                not_after=_moment(members["not_after"]),
                level=Level.from_label(members["level"]),
                serial_pattern=members["serial_pattern"],
                serial_start=members["serial_start"],
                reissue=Reissue(members["reissue"]),
                shares=None if members.get("shares") is None else dict(members["shares"]),
            )
            parse_pattern(order.serial_pattern)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("the order that was approved is not of its form") from error
        # Its last board's is the longest.
        if not is_chip_id(order.serial_of(1)) or not is_chip_id(order.serial_of(order.quantity)):
            raise ValueError("the order that was approved gives no serial numbers")
        return order

    @property
    def certificates_a_place(self) -> int:
        """How many one place may have, of one name and issuer."""
        return 1 if self.reissue is Reissue.NEVER else MAX_RECORDS

    def share_of(self, holder: str) -> int:
        """How many places this key holder may certify."""
        if self.shares is None:
            return self.quantity if holder == FIRST else 0
        return self.shares.get(holder, 0)

    def serial_of(self, number: int) -> str:
        """The serial number of the board that is the first in this place."""
        return parse_pattern(self.serial_pattern).render(self.serial_start + number - 1)


def _demand_form(members: Mapping[str, Any]) -> None:
    """What people signed may have come from anywhere; and what is noted once is read for years.

    Raises ValueError, TypeError, KeyError.
    """
    for name in _TEXTS:
        if not isinstance(members[name], str):
            raise TypeError(name)
    for name, bounds in _NUMBERS.items():
        if type(members[name]) is not int or members[name] not in bounds:
            raise TypeError(name)
    if not is_name(members["work_order"]) or not is_name(members["product"]):
        raise ValueError("the order that was approved has no name, or its product has none")
    if _SHA256.fullmatch(members["product_sha256"]) is None:
        raise ValueError("the order that was approved names no revision of its product")
    shares = members.get("shares")
    if shares is not None:
        _demand_shares(dict(shares), members["quantity"])


def _demand_shares(shares: dict[Any, Any], quantity: int) -> None:
    if not all(
        isinstance(name, str) and is_name(name) and type(part) is int for name, part in shares.items()
    ):
        raise TypeError("shares")
    if min(shares.values(), default=0) < 0 or sum(shares.values()) > quantity:
        raise ValueError("the order that was approved has shares of more than its quantity")


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IssuerOfCa:
    """An issuer, and the CA that products name it by."""

    issuer: Issuer
    ca: str = FIRST


def check_leaf(
    tbs: bytes, leaf: Leaf, order: ApprovedOrder, product: Product, by: IssuerOfCa, now: datetime
) -> None:
    """Holds a TBSCertificate against the order that it is said to be of.

    Args:
        tbs: the bytes to be signed, DER.
        leaf: what they are said to be.
        order: as it was approved.
        product: the revision that the order names; the caller has looked at its digest.
        by: who is to sign.
        now: aware.

    Raises:
        LeafRefusedError: they are anything else.
    """
    place = leaf.place
    for holds, otherwise in (
        (leaf.name == DEVICE, f"the product has no certificate {leaf.name[:64]!r}"),
        (place.work_order == order.work_order, "of another order"),
        (place.product == order.product, "of another product"),
        (leaf.product_sha256 == order.product_sha256, "of another revision of the product"),
        (1 <= place.number <= order.quantity, f"place {place.number} of {order.quantity}"),
        (order.not_before <= place.moment <= order.not_after, "begins outside the order's window"),
        (
            # Not of the order's ends, which may be those of the calendar.
            now + CLOCKS_DIFFER >= order.not_before and now - CLOCKS_DIFFER <= order.not_after,
            "it is outside the order's window",
        ),
        (not leaf.evidence.level < order.level, f"evidence of level {leaf.evidence.level.label}"),
        (leaf.evidence.method in product.evidence.methods, f"evidence by {leaf.evidence.method[:64]!r}"),
        (
            product.certificate.ca == by.ca,
            f"the product's certificates come from CA {product.certificate.ca}",
        ),
    ):
        if not holds:
            raise LeafRefusedError(f"not of the order {order.work_order}: {otherwise}")
    try:
        key = _public_key(tbs, by.issuer)
        check_type(key, product.keys.accept)
        terms = terms_of(product, place, key, by.issuer, leaf.evidence)
        expected = build_tbs(terms, place, key, by.issuer)
    except (ValueError, WeakKeyError, UnsupportedAlgorithm, OverflowError) as error:
        raise LeafRefusedError(f"the product gives no such certificate: {error}") from error
    if expected != tbs:
        raise LeafRefusedError("not the certificate that the product gives for this place and key")


def _public_key(tbs: bytes, issuer: Issuer) -> PublicKey:
    certificate = x509.load_der_x509_certificate(der.signed(tbs, issuer.algorithm.identifier, b"\x00"))
    key, _ = check_type(certificate.public_key())
    return key
