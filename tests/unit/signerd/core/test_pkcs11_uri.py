"""Names of tokens and keys: labels, ids, slots of PIV cards, and the URIs of RFC 7512 that find one thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.pkcs11_uri import KeyName, TokenName, key_name, slot_hint, token_name

# As `p11tool --list-tokens` and `--list-privkeys` print them.
PRINTED = "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=95f18d2ca318b2aa;token=line%201"
LINE_1 = TokenName("line 1", b"95f18d2ca318b2aa", "SoftHSM project", "SoftHSM v2")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("birthmark-ca", KeyName("birthmark-ca", None)),
        ("id=%02", KeyName("id=%02", None)),
        ("pkcs11:id=%02", KeyName(None, b"\x02")),
        ("PKCS11:id=%02", KeyName(None, b"\x02")),
        ("pkcs11:id=%02%fF", KeyName(None, b"\x02\xff")),
        ("pkcs11:object=a%20key;type=private", KeyName("a key", None)),
        ("pkcs11:id=ab;object=%C3%A9", KeyName("é", b"ab")),
        (f"{PRINTED};id=%00%2f;object=ca;type=private", KeyName("ca", b"\x00/", LINE_1)),
        ("pkcs11:slot-id=3;id=%02", KeyName(None, b"\x02", TokenName(slot_id=3))),
        ("id:00fF", KeyName(None, b"\x00\xff")),
        ("slot:9a", KeyName(None, b"\x01")),
        ("slot:9C", KeyName(None, b"\x02")),
        ("slot:9d", KeyName(None, b"\x03")),
        ("slot:9e", KeyName(None, b"\x04")),
        ("slot:82", KeyName(None, b"\x05")),
        ("slot:95", KeyName(None, b"\x18")),
    ],
)
def test_keys(text: str, name: KeyName) -> None:
    assert key_name(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("line 1", TokenName("line 1")),
        ("pkcs11:token=YubiKey%20PIV%20%2311", TokenName("YubiKey PIV #11")),
        ("pkcs11:serial=11", TokenName(serial=b"11")),
        ("pkcs11:serial=11;token=line", TokenName("line", b"11")),
        (PRINTED, LINE_1),
        (
            "pkcs11:slot-id=18446744073709551615;slot-description=a%20reader;slot-manufacturer=b",
            TokenName(slot_id=2**64 - 1, slot_description="a reader", slot_manufacturer="b"),
        ),
    ],
)
def test_tokens(text: str, name: TokenName) -> None:
    assert token_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pkcs11:",
        "pkcs11:type=private",
        "pkcs11:type=cert;id=%02",
        "pkcs11:token=line",
        "pkcs11:colour=red;id=%02",
        "pkcs11:id",
        "pkcs11:id=",
        "pkcs11:id=%2",
        "pkcs11:id=%zz",
        "pkcs11:id=%02;id=%02",
        "pkcs11:id=%02;",
        "pkcs11:id=%02;slot-id=x",
        "pkcs11:id=%02;x-vendor=1",
        "pkcs11:object=%ff",
        "pkcs11:object=é",
        "pkcs11:object=a key",
        "pkcs11:object=" + "a" * 512,
        "id:",
        "id:2",
        "id:zz",
        "id:" + "00" * 65,
        "slot:9b",
        "slot:96",
        "slot:81",
        "slot:9a9",
        "slot:",
    ],
)
def test_what_is_no_name_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"PKCS #11|RFC 7512|URI|no key|an id is|PIV card|empty"):
        key_name(text)


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("pin-value=1234", "never stands in clear: give its source by --pin"),
        ("pin-source=file:/etc/pin", "--pin or hsm.pin"),
        ("module-path=/usr/lib/a.so", "--module"),
        ("module-name=a", "--module"),
        ("x-other=1", "leave it out"),
    ],
)
@pytest.mark.parametrize(("named", "uri"), [(key_name, "pkcs11:id=%02"), (token_name, "pkcs11:serial=1")])
def test_a_query_is_refused_with_the_place_where_it_is_said(
    named: Callable[[str], object], uri: str, query: str, remedy: str
) -> None:
    with pytest.raises(ValueError, match=rf"no {query.partition('=')[0]} may stand: .*{remedy}"):
        named(f"{uri}?{query}")


@pytest.mark.parametrize("text", ["pkcs11:id=%02", "pkcs11:", "pkcs11:slot-id=-1", "pkcs11:token=%ff"])
def test_what_is_no_name_of_a_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"PKCS #11|URI"):
        token_name(text)


def test_a_slot_that_was_taken_for_a_label_is_told_apart() -> None:
    assert slot_hint("9C") == "; the slot of a PIV card is named slot:9C"
    assert [slot_hint(text) for text in ("birthmark-ca", "9b", "9c9", "", "slot:9c")] == [""] * 5


@given(st.binary(min_size=1, max_size=50))
def test_every_id_has_a_uri(value: bytes) -> None:
    assert key_name("pkcs11:id=" + "".join(f"%{byte:02x}" for byte in value)) == KeyName(None, value)
    assert key_name(f"id:{value.hex()}") == KeyName(None, value)


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_a_name(text: str) -> None:
    try:
        name = key_name("pkcs11:" + text)
    except ValueError:
        return
    assert name.label or name.id
