"""Tokens by label, serial number and PKCS#11 URI."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signerd.core.pkcs11_uri import TokenName
from signerd.core.token_choice import token_choice

LABEL, SERIAL = "YubiKey PIV #11", "11"
FIRST = TokenName(LABEL, SERIAL.encode(), "Yubico (www.yubico.com)", "YubiKey YK5", 0, "a reader", "Yubico")
TWIN = replace(FIRST, serial=b"12", slot_id=1)
OTHER = replace(FIRST, label="11", serial=b"13", slot_id=2)  # whose label is another one's serial number


@pytest.mark.parametrize(
    "text",
    [
        "",
        SERIAL,
        LABEL,
        "pkcs11:serial=11",
        "PKCS11:serial=11",
        "pkcs11:token=YubiKey%20PIV%20%2311;serial=11",
    ],
)
def test_names_it(text: str) -> None:
    assert token_choice(text).fits(LABEL, SERIAL)


@pytest.mark.parametrize("text", ["12", "YubiKey", "pkcs11:serial=12", "pkcs11:serial=11;token=other"])
def test_names_another(text: str) -> None:
    assert not token_choice(text).fits(LABEL, SERIAL)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", [0, 1, 2]),
        (LABEL, [0, 1]),
        ("11", [2]),
        ("12", [1]),
        ("14", []),
        ("pkcs11:serial=11", [0]),
        ("pkcs11:token=11", [2]),
        ("pkcs11:slot-id=1", [1]),
        ("pkcs11:manufacturer=Yubico%20%28www.yubico.com%29;model=YubiKey%20YK5;serial=12", [1]),
        ("pkcs11:manufacturer=another;serial=12", []),
        ("pkcs11:slot-description=a%20reader;slot-manufacturer=Yubico;token=11", [2]),
    ],
)
def test_of_several_tokens(text: str, meant: list[int]) -> None:
    assert token_choice(text).of([FIRST, TWIN, OTHER]) == meant


def test_a_serial_number_names_it_where_no_label_does() -> None:
    assert token_choice("11").of([FIRST, TWIN]) == [0]


@pytest.mark.parametrize("text", ["pkcs11:", "pkcs11:object=ca", "pkcs11:serial", "pkcs11:colour=red"])
def test_no_uri_of_a_token(text: str) -> None:
    with pytest.raises(ValueError, match=r"URI|RFC 7512"):
        token_choice(text)
