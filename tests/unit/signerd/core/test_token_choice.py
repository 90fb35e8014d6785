"""Tokens by label, serial number and PKCS#11 URI."""

from __future__ import annotations

import pytest

from signerd.core.token_choice import token_choice

TOKEN = {
    "label": "YubiKey PIV #11",
    "serial": "11",
    "manufacturer": "Yubico (www.yubico.com)",
    "model": "YK5",
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "11",
        "YubiKey PIV #11",
        "pkcs11:serial=11",
        "pkcs11:token=YubiKey%20PIV%20%2311;serial=11",
        "pkcs11:token=YubiKey%20PIV%20%2311;object=ca;type=private?module-path=/usr/lib/x.so",
        "pkcs11:model=YK5;manufacturer=Yubico%20(www.yubico.com)",
    ],
)
def test_names_it(text: str) -> None:
    assert token_choice(text).fits(TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "12",
        "YubiKey",
        "pkcs11:serial=12",
        "pkcs11:serial=11;token=other",
        "pkcs11:model=yk5",
        "PKCS11:serial=11",
    ],
)
def test_names_another(text: str) -> None:
    assert not token_choice(text).fits(TOKEN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pkcs11:", "names no token"),
        ("pkcs11:object=ca", "names no token"),
        ("pkcs11:serial", "no attribute"),
        ("pkcs11:serial=1;serial=1", "twice"),
        ("pkcs11:colour=red", "no attribute"),
        ("pkcs11:token=%ff", "not UTF-8"),
    ],
)
def test_no_uri_of_a_token(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        token_choice(text)
