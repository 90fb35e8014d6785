from __future__ import annotations

import math
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.evidence.cbor_items import MAX_DEPTH, CborItemError, Item, Simple, Tagged, read_item
from signerd.core.evidence.method import MAX_EVIDENCE_BYTES

KEYS = st.one_of(st.integers(-(2**64), 2**64 - 1), st.text(max_size=4), st.binary(max_size=4))
SCALARS = st.one_of(KEYS, st.booleans(), st.none(), st.floats(allow_nan=False))
ITEMS: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def as_cbor2(item: Item) -> Any:
    """The same for the library, which has other names for tags and simple values."""
    match item:
        case Tagged():
            return cbor2.CBORTag(item.number, as_cbor2(item.item))
        case Simple(value=23):
            return cbor2.undefined
        case Simple():
            return cbor2.CBORSimpleValue(item.value)
        case list():
            return [as_cbor2(one) for one in item]
        case dict():
            return {key: as_cbor2(value) for key, value in item.items()}
        case _:
            return item


def has_float(item: Item) -> bool:
    match item:
        case Tagged():
            return has_float(item.item)
        case list():
            return any(has_float(one) for one in item)
        case dict():
            return any(has_float(one) for one in item.values())
        case _:
            return isinstance(item, float)


@given(ITEMS)
def test_what_the_library_writes_is_read_as_it_was(item: Any) -> None:
    assert read_item(cbor2.dumps(item), shortest=True, max_depth=50) == item


@given(st.binary(max_size=80))
def test_any_bytes_are_their_own_only_encoding_or_the_domain_error(data: bytes) -> None:
    try:
        item = read_item(data, shortest=True)
    except CborItemError:
        return
    assert has_float(item) or cbor2.dumps(as_cbor2(item)) == data


# RFC 8949, Appendix A: those of definite length.
@pytest.mark.parametrize(
    ("data", "item"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("3903e7", -1000),
        ("f93c00", 1.0),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("f7", Simple(23)),
        ("f0", Simple(16)),
        ("f8ff", Simple(255)),
        ("c11a514b67b0", Tagged(1, 1363896240)),
        ("d818456449455446", Tagged(24, b"dIETF")),
        ("40", b""),
        ("64f0908591", "\U00010151"),
        ("83010203", [1, 2, 3]),
        ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ],
)
def test_examples_of_the_standard(data: str, item: Item) -> None:
    read = read_item(bytes.fromhex(data), shortest=True)
    assert (type(read), read) == (type(item), item)


@pytest.mark.parametrize(
    ("data", "item"),
    [
        ("1817", 23),
        ("1900ff", 255),
        ("1a0000ffff", 65535),
        ("1b00000000ffffffff", 4294967295),
        ("3817", -24),
        ("5801aa", b"\xaa"),
        ("780161", "a"),
        ("980101", [1]),
        ("b8010102", {1: 2}),
        ("d80101", Tagged(1, 1)),
        ("c1d80201", Tagged(1, Tagged(2, 1))),
    ],
)
def test_a_longer_head_is_read_where_a_signature_covers_it_and_refused_elsewhere(
    data: str, item: Item
) -> None:
    assert read_item(bytes.fromhex(data), shortest=False) == item
    with pytest.raises(CborItemError, match="longer than it needs"):
        read_item(bytes.fromhex(data), shortest=True)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("nothing", ""),
        ("bytes after it", "0000"),
        ("a cut head", "19ff"),
        ("a cut string", "4401"),
        ("a cut array", "8201"),
        ("a cut map", "a101"),
        ("a tag alone", "c1"),
        ("a reserved head", "1c"),
        ("an indefinite array", "9f01ff"),
        ("an indefinite map", "bf0102ff"),
        ("indefinite bytes", "5f4101ff"),
        ("indefinite text", "7f6161ff"),
        ("a break", "ff"),
        ("not UTF-8", "61ff"),
        ("a surrogate in UTF-8", "63eda080"),
        ("a key twice", "a201020103"),
        ("a key twice, once in a longer form", "a20102180103"),
        ("a key true", "a1f500"),
        ("a key 1.0", "a1f93c0000"),
        ("a key of an array", "a1800100"),
        ("a simple value of 24", "f818"),
        ("an array of 2^64 - 1", "9bffffffffffffffff"),
        ("a map of 2^64 - 1", "bbffffffffffffffff"),
        ("bytes of 2^64 - 1", "5bffffffffffffffff"),
        ("too deep", "81" * MAX_DEPTH + "00"),
        ("too deep in tags", "c1" * MAX_DEPTH + "00"),
        ("too deep in maps", "a100" * MAX_DEPTH + "00"),
    ],
)
@pytest.mark.parametrize("shortest", [False, True])
def test_refused(what: str, data: str, shortest: bool) -> None:
    with pytest.raises(CborItemError):
        pytest.fail(f"{what}: {read_item(bytes.fromhex(data), shortest=shortest)!r}")


def test_the_bound_on_depth_is_exact() -> None:
    assert read_item(bytes.fromhex("81" * (MAX_DEPTH - 1) + "00"), shortest=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80" * MAX_EVIDENCE_BYTES,
        b"\x9a\xff\xff\xff\xff" + b"\x80" * MAX_EVIDENCE_BYTES,
        b"\x9b" + b"\xff" * MAX_EVIDENCE_BYTES,
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(MAX_EVIDENCE_BYTES),
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"
        + b"".join(b"\x1a" + key.to_bytes(4, "big") + b"\x80" for key in range(2700)),
        b"\x81" * MAX_EVIDENCE_BYTES,
        b"\xc1" * MAX_EVIDENCE_BYTES,
    ],
)
def test_memory_stays_in_proportion_to_the_bytes(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CborItemError):
            read_item(data, shortest=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(data)
