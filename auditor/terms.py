"""A work order as signerd states it, held against the verified ledger.

The verified ledger may be behind what signerd says: boards were made since, or the order was closed. It is
never ahead. So counts may be larger, and what is closed stays closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from auditor.core.books import OrderState
from auditor.core.claims import firmware_text
from auditor.core.codes import Code
from auditor.core.findings import Finding
from auditor.errors import Malformed, NotFound
from auditor.ports import Log, OrderTerms, State


def look_at_orders(log: Log, state: State, report: Callable[[Finding], None]) -> None:
    """Asks for each order of the ledger, and reports what differs. Raises Unreachable."""
    for name in state.orders():
        order = state.order(name)
        if order is None:
            continue
        try:
            said = log.order(name)
        except NotFound:
            detail = f"signerd has no work order {name}"
            report(Finding(Code.ORDER_TERMS, detail, order.opened_index))
        except Malformed as error:
            report(Finding(Code.ANSWER_MALFORMED, f"work order {name}: {error}", order.opened_index))
        else:
            for found in differences(order, said):
                report(found)


def differences(order: OrderState, said: OrderTerms) -> Iterator[Finding]:
    """What signerd states otherwise than the ledger."""
    terms = order.terms
    for what, found, expected in (
        ("work order", said.work_order, terms.work_order),
        ("product", said.product, terms.product),
        ("quantity", str(said.quantity), str(terms.quantity)),
        ("level", said.level, terms.level),
        ("entry", str(said.opened_index), str(order.opened_index)),
        ("bundle", said.bundle_sha256.hex(), (terms.bundle_sha256 or b"").hex()),
        ("firmware", firmware_text(said.firmware), firmware_text(terms.firmware or {})),
    ):
        if found != expected:
            yield _differs(order, f"another {what}", expected, found)
    if order.closed_at is not None and not said.closed:
        yield _differs(order, "that the order is open", "closed", "open")
    for what, stated, counted in (
        ("certificates", said.issued, order.certificates),
        ("stamps", said.stamped, order.stamped),
        ("revoked certificates", said.revoked, order.revoked),
    ):
        if stated < counted:
            yield _differs(order, f"fewer {what}", f"{counted} or more", str(stated))


def _differs(order: OrderState, what: str, expected: str, found: str) -> Finding:
    detail = f"signerd states {what}"
    return Finding(Code.ORDER_TERMS, detail, order.opened_index, None, expected, found)
