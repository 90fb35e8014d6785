"""Orders as administrators signed them: what is not of its form is refused, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.approved_order import ApprovedOrder
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.leaf import Leaf
from signerd.core.names import Level
from signerd.core.order import Place

ORDER: dict[str, Any] = {
    "work_order": "WO-1",
    "product": "sensor",
    "product_sha256": "ab" * 32,
    "quantity": 12,
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "9999-12-31T23:59:59Z",
    "level": "key",
    "serial_pattern": "BM-{number:04d}",
    "serial_start": 5,
    "reissue": "never",
}
LEAF = Leaf(
    Place("WO-1", "sensor", "chip-1", 1, "BM-0005", 1 << 152, datetime(2026, 5, 1, tzinfo=UTC)),
    EvidenceStatement.about(Level.KEY, "hmac-sha256", b"evidence"),
    bytes(32),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def is_read(members: Mapping[str, Any]) -> bool:
    try:
        ApprovedOrder.of(members)
    except ValueError:
        return False
    return True


def test_an_order_is_read() -> None:
    order = ApprovedOrder.of(ORDER)
    assert (order.serial_of(1), order.serial_of(12), order.certificates_a_place) == (
        "BM-0005",
        "BM-0016",
        1,
    )
    assert ApprovedOrder.of({**ORDER, "reissue": "always"}).certificates_a_place == 16


@pytest.mark.parametrize("name", ORDER)
def test_each_member_is_needed(name: str) -> None:
    assert not is_read({key: value for key, value in ORDER.items() if key != name})


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": 0},
        {"quantity": True},
        {"quantity": 10**9},
        {"serial_start": -1},
        {"serial_start": 10**16},
        {"serial_pattern": "BM"},
        {"serial_pattern": "a b {number}"},
        {"serial_pattern": "{number:080d}"},
        {"product_sha256": "AB" * 32},
        {"product_sha256": "ab " * 32},
        {"work_order": "a\nb"},
        {"product": ""},
        {"not_before": "2026-01-01"},
        {"level": "all"},
        {"reissue": "once"},
        {"shares": {"main": 13}},
        {"shares": {"main": 12, "second": 1}},
        {"shares": {"main": -1, "second": 13}},
        {"shares": {"main": True}},
        {"shares": {"a b": 1}},
        {"shares": 5},
    ],
    ids=str,
)
def test_members_out_of_their_form(changed: dict[str, Any]) -> None:
    assert not is_read({**ORDER, **changed})


@given(name=st.sampled_from(sorted(ORDER)), value=ANYTHING)
def test_whatever_a_member_is_it_is_read_or_refused(name: str, value: object) -> None:
    if is_read({**ORDER, name: value}):
        assert type(value) is type(ORDER[name])


def test_a_leaf_is_what_was_sent() -> None:
    assert Leaf.read(LEAF.wire()) == LEAF


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 0},
        {"number": True},
        {"number": 10**5000},
        {"certificate_serial": 0},
        {"certificate_serial": 1 << 159},
        {"moment": 2**70},
        {"moment": -(2**62)},
        {"chip_id": "a/b"},
        {"serial_number": "x" * 65},
        {"work_order": ""},
        {"name": "a b"},
        {"method": "any"},
        {"level": "k" * 10_000},
        {"product_sha256": b""},
        {"evidence_sha256": bytes(33)},
        {"more": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_leaf_out_of_its_bounds(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"certificate is for|moment"):
        Leaf.read({**LEAF.wire(), **changed})


@given(name=st.sampled_from(sorted(LEAF.wire())), value=ANYTHING)
def test_whatever_a_leaf_is_it_is_read_or_refused(name: str, value: object) -> None:
    try:
        leaf = Leaf.read({**LEAF.wire(), name: value})
    except ValueError:
        return
    assert leaf.wire()[name] == value
