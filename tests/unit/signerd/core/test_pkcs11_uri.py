"""Names of tokens and keys: labels, and the URIs of RFC 7512 that find one thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.pkcs11_uri import KeyName, TokenName, key_name, token_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("birthmark-ca", KeyName("birthmark-ca", None)),
        ("id=%02", KeyName("id=%02", None)),
        ("pkcs11:id=%02", KeyName(None, b"\x02")),
        ("pkcs11:id=%02%fF", KeyName(None, b"\x02\xff")),
        ("pkcs11:object=a%20key;type=private", KeyName("a key", None)),
        ("pkcs11:id=ab;object=%C3%A9", KeyName("é", b"ab")),
    ],
)
def test_keys(text: str, name: KeyName) -> None:
    assert key_name(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("line 1", TokenName("line 1", None)),
        ("pkcs11:token=YubiKey%20PIV%20%2311", TokenName("YubiKey PIV #11", None)),
        ("pkcs11:serial=11", TokenName(None, b"11")),
        ("pkcs11:serial=11;token=line", TokenName("line", b"11")),
    ],
)
def test_tokens(text: str, name: TokenName) -> None:
    assert token_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:",
        "pkcs11:type=private",
        "pkcs11:type=cert;id=%02",
        "pkcs11:token=line;id=%02",
        "pkcs11:id",
        "pkcs11:id=",
        "pkcs11:id=%2",
        "pkcs11:id=%zz",
        "pkcs11:id=%02;id=%02",
        "pkcs11:id=%02;",
        "pkcs11:id=%02?pin-value=1234",
        "pkcs11:object=%ff",
        "pkcs11:object=é",
        "pkcs11:object=a key",
        "pkcs11:object=" + "a" * 512,
    ],
)
def test_what_is_no_name_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"PKCS #11|RFC 7512|URI|no key"):
        key_name(text)


@pytest.mark.parametrize("text", ["pkcs11:id=%02", "pkcs11:", "pkcs11:slot-id=1", "pkcs11:token=%ff"])
def test_what_is_no_name_of_a_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"PKCS #11|URI"):
        token_name(text)


@given(st.binary(min_size=1, max_size=50))
def test_every_id_has_a_uri(value: bytes) -> None:
    assert key_name("pkcs11:id=" + "".join(f"%{byte:02x}" for byte in value)) == KeyName(None, value)


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_a_name(text: str) -> None:
    try:
        name = key_name("pkcs11:" + text)
    except ValueError:
        return
    assert name.label or name.id
