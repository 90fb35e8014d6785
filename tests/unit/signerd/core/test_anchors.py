"""Anchors: one statement is one value and one text."""

from __future__ import annotations

import hashlib
import json

import pytest

from signerd.core.anchors import MAX_ANCHORS, MAX_VALUE, Anchor, AnchorKind, entry_form, from_text, to_text

KEY, CA = b"a key", b"a CA's key"
ANCHORS = (
    Anchor.stated(AnchorKind.UEID, "01ff", CA),
    Anchor.of_key(KEY),
    Anchor.stated(AnchorKind.SERIAL, "S-1", CA),
    Anchor.imported(b"\x01\xab"),
    Anchor.personalized("chip:1"),
)


def test_the_form_of_entries_is_sorted_and_says_null_for_no_issuer() -> None:
    ca = hashlib.sha256(CA).hexdigest()
    assert entry_form((*ANCHORS, ANCHORS[0])) == (
        ("imported", None, "01ab"),
        ("key", None, hashlib.sha256(KEY).hexdigest()),
        ("personalized", None, "chip:1"),
        ("serial", ca, "S-1"),
        ("ueid", ca, "01ff"),
    )


def test_the_text_is_the_array_of_entries_and_is_read_back() -> None:
    text = to_text(ANCHORS)
    assert json.loads(text) == [list(item) for item in entry_form(ANCHORS)]
    assert from_text(text) == tuple(sorted(ANCHORS))
    assert from_text(to_text(())) == ()


def test_the_same_value_under_two_issuers_is_two_anchors() -> None:
    one, other = (Anchor.stated(AnchorKind.SERIAL, "S-1", ca) for ca in (b"a", b"b"))
    assert one != other


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        '["key"]',
        '[["key",null]]',
        '[["key",null,""]]',
        '[["mac",null,"00"]]',
        '[["serial",null,"S-1"]]',
        '[["serial","","S-1"]]',
        '[["key","00","00"]]',
        '[["key",null,1]]',
        '[["key", null,"00"]]',
        '[["ueid","00","01"],["key",null,"00"]]',
        '[["key",null,"00"],["key",null,"00"]]',
        json.dumps([["key", None, "0" * (MAX_VALUE + 1)]], separators=(",", ":")),
        json.dumps([["key", None, f"{n:02}"] for n in range(MAX_ANCHORS + 1)], separators=(",", ":")),
    ],
)
def test_another_text_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_text(text)
