from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import strict_cbor
from signerd.core.strict_cbor import CborError

scalars = st.one_of(
    st.integers(-(2**64), 2**64 - 1), st.binary(max_size=40), st.text(max_size=40), st.booleans(), st.none()
)
items = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(items)
def test_what_is_encoded_decodes_to_itself(item: Any) -> None:
    assert strict_cbor.decode(strict_cbor.encode(item), max_bytes=100_000, max_depth=50) == item


@given(st.binary(max_size=200))
def test_any_bytes_give_an_item_with_these_very_bytes_or_the_domain_error(data: bytes) -> None:
    try:
        item = strict_cbor.decode(data, max_bytes=200)
    except CborError:
        return
    assert strict_cbor.encode(item) == data


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a long form of 1", "1801"),
        ("indefinite array", "9f01ff"),
        ("indefinite text", "7f6161ff"),
        ("duplicate key", "a2616101616102"),
        ("keys out of order", "a2616201616102"),
        ("integer key", "a10102"),
        ("float", "f93c00"),
        ("undefined", "f7"),
        ("simple value", "f0"),
        ("tag", "c11a514b67b0"),
        ("bignum", "c249010000000000000000"),
        ("regular expression tag", "d8236161"),
        ("shared value", "82d81c8101d81d00"),
        ("a list that holds itself", "d81c81d81d00"),
        ("string reference", "d9010082616100"),
        ("bytes after the item", "0101"),
        ("cut", "8201"),
        ("invalid UTF-8", "61ff"),
        ("empty", ""),
        ("array of 2^64-1", "9bffffffffffffffff"),
        ("too deep", "81" * 6 + "01"),
    ],
)
def test_refuses(what: str, data: str) -> None:
    with pytest.raises(CborError):
        pytest.fail(f"accepted {what}: {strict_cbor.decode(bytes.fromhex(data), max_bytes=100)}")


def test_order_of_keys_is_bytewise_of_their_encoding() -> None:
    assert strict_cbor.encode({"bb": 1, "c": 2, "a": 3}).hex() == "a361610361630262626201"


def test_size_bound_is_exact() -> None:
    data = cbor2.dumps("x" * 10)
    assert strict_cbor.decode(data, max_bytes=len(data)) == "x" * 10
    with pytest.raises(CborError):
        strict_cbor.decode(data, max_bytes=len(data) - 1)
