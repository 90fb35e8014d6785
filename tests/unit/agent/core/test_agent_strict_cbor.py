from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import strict_cbor
from agent.core.strict_cbor import CborError


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("shared value", "82d81c8101d81d00"),
        ("a list that holds itself", "d81c81d81d00"),
        ("string reference", "d9010082616100"),
        ("tag", "c11a514b67b0"),
        ("float", "f93c00"),
        ("duplicate key", "a2616101616102"),
        ("bytes after the item", "0101"),
        ("a long form of 1", "1801"),
        ("too deep", "81" * 6 + "01"),
    ],
)
def test_refuses(what: str, data: str) -> None:
    with pytest.raises(CborError):
        pytest.fail(f"accepted {what}: {strict_cbor.decode(bytes.fromhex(data), max_bytes=100)}")


@given(st.binary(max_size=200))
def test_any_bytes_give_an_item_with_these_very_bytes_or_the_domain_error(data: bytes) -> None:
    try:
        item = strict_cbor.decode(data, max_bytes=200)
    except CborError:
        return
    assert strict_cbor.encode(item) == data
