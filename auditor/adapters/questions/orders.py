"""The question about orders: what each comes to."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from auditor.adapters.questions.reading import Reading, Rows, moment_text
from auditor.core.entry import OrderOpened, reread_entry
from auditor.core.forms import time_text
from auditor.core.questions.balance import Balance
from auditor.errors import CheckFailed, ConfigError


class Choice(Enum):
    """Which orders."""

    ALL = "all"
    OPEN = "open"
    CLOSED = "closed"
    SHORT = "short"
    OVER = "over"


def orders(reading: Reading, *, order: str, product: str, choice: Choice, at_close: bool) -> Rows:
    """Orders in the sequence of their opening.

    Args:
        reading: of the state.
        order: this one alone; empty: all.
        product: of this one alone; empty: of all.
        choice: which of them.
        at_close: closed ones alone, with their counts at that moment.

    Raises:
        NotFound: the ledger has no such order.
        ConfigError: the state is damaged.
    """
    where, values = "", []
    if order:
        reading.order(order)
        where, values = "WHERE work_order = ?", [order]
    query = (
        f"SELECT opened_index, counts, data FROM orders JOIN entries ON idx = opened_index {where}"  # noqa: S608
        " ORDER BY opened_index"
    )
    for index, counts, data in reading.rows(query, values):
        terms = _terms(data)
        found = json.loads(counts)
        closed_at = found["closed_at"]
        if (product and terms.product != product) or (at_close and closed_at is None):
            continue
        counted = found["at_close"] if at_close else _now(found)
        balance = Balance(terms.quantity, **counted)
        if _is_chosen(choice, balance, closed=closed_at is not None):
            yield _row(terms, index, closed_at, balance)


def _terms(data: bytes) -> OrderOpened:
    try:
        terms = reread_entry(data)
    except CheckFailed as error:
        raise ConfigError("the state is damaged: move it away and verify anew") from error
    if not isinstance(terms, OrderOpened):
        raise ConfigError("the state is damaged: move it away and verify anew")
    return terms


def _now(found: dict[str, Any]) -> dict[str, int]:
    """By the names of `auditor.core.books.OrderState.counts`."""
    names = ("certificates", "stamped", "revoked", "stamped_revoked", "refused")
    return {"boards": found["places"]} | {name: found[name] for name in names}


def _is_chosen(choice: Choice, balance: Balance, *, closed: bool) -> bool:
    return {
        Choice.ALL: True,
        Choice.OPEN: not closed,
        Choice.CLOSED: closed,
        Choice.SHORT: balance.short > 0,
        Choice.OVER: balance.over > 0,
    }[choice]


def _row(terms: OrderOpened, index: int, closed_at: int | None, balance: Balance) -> dict[str, Any]:
    return {
        "work_order": terms.work_order,
        "product": terms.product,
        "state": "open" if closed_at is None else "closed",
        "ordered": balance.ordered,
        "boards": balance.boards,
        "certificates": balance.certificates,
        "stamped": balance.stamped,
        "good": balance.good,
        "missing": balance.missing,
        "revoked": balance.revoked,
        "scrapped": balance.scrapped,
        "refused": balance.refused,
        "short": balance.short,
        "over": balance.over,
        "opened_at": time_text(terms.time),
        "not_after": time_text(terms.not_after),
        "closed_at": None if closed_at is None else moment_text(closed_at),
        "opened_entry": index,
    }
