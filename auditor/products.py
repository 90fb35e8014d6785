"""Product files, as signerd hands them over beside their orders, each held against the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from auditor.core.books import OrderState
from auditor.core.codes import Code
from auditor.core.entry import LEVELS
from auditor.core.product import ProductRules, read_product
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.ports import Log


@dataclass(frozen=True, slots=True)
class Products:
    """The rules of each order's product, fetched once a run."""

    log: Log
    _known: dict[bytes, ProductRules] = field(default_factory=dict, init=False)
    _files: dict[bytes, bytes] = field(default_factory=dict, init=False)

    def of(self, order: OrderState) -> ProductRules:
        """What the order's product demands, in the revision that the order was opened with.

        Raises:
            CheckFailed: PRODUCT_FILE: signerd does not hand over this file, or it cannot be judged by.
                ORDER_TERMS: the order demands less than the product allows.
            Unreachable: signerd does not answer.
        """
        terms = order.terms
        rules = self._known.get(terms.product_sha256)
        if rules is None:
            rules = self._known[terms.product_sha256] = self._fetch(order)
        if rules.name != terms.product:
            raise CheckFailed(
                Code.PRODUCT_FILE, "another product's", expected=terms.product, found=rules.name
            )
        if LEVELS.index(terms.level) < LEVELS.index(rules.level):
            detail = "the order demands less evidence than its product allows"
            raise CheckFailed(Code.ORDER_TERMS, detail, expected=rules.level, found=terms.level)
        return rules

    def file_of(self, order: OrderState) -> bytes:
        """The file itself, once `of` took it."""
        return self._files[order.terms.product_sha256]

    def _fetch(self, order: OrderState) -> ProductRules:
        try:
            data = self.log.order(order.terms.work_order).product_file
            found = sha256(data).hexdigest()
            if found != order.terms.product_sha256.hex():
                raise CheckFailed(
                    Code.PRODUCT_FILE,
                    "not the one of the ledger",
                    expected=order.terms.product_sha256.hex(),
                    found=found,
                )
            rules = read_product(data)
        except (Malformed, NotFound) as error:
            raise CheckFailed(Code.PRODUCT_FILE, str(error)) from error
        self._files[order.terms.product_sha256] = data
        return rules
