"""Tokens by label, serial number and PKCS#11 URI."""

from __future__ import annotations

import pytest

from signerd.core.token_choice import token_choice

LABEL, SERIAL = "YubiKey PIV #11", "11"


@pytest.mark.parametrize(
    "text", ["", SERIAL, LABEL, "pkcs11:serial=11", "pkcs11:token=YubiKey%20PIV%20%2311;serial=11"]
)
def test_names_it(text: str) -> None:
    assert token_choice(text).fits(LABEL, SERIAL)


@pytest.mark.parametrize(
    "text", ["12", "YubiKey", "pkcs11:serial=12", "pkcs11:serial=11;token=other", "PKCS11:serial=11"]
)
def test_names_another(text: str) -> None:
    assert not token_choice(text).fits(LABEL, SERIAL)


@pytest.mark.parametrize("text", ["pkcs11:", "pkcs11:object=ca", "pkcs11:serial", "pkcs11:colour=red"])
def test_no_uri_of_a_token(text: str) -> None:
    with pytest.raises(ValueError, match=r"URI|RFC 7512"):
        token_choice(text)
