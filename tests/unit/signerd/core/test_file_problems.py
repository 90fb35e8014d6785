"""What is wrong with a file is said in the file's words, each thing once."""

from __future__ import annotations

import pytest

from signerd.core.product import parse_product
from signerd.errors import Code, Refused

GOOD = """
name = "sensor"
[keys]
accept = ["p256"]
[evidence]
methods = ["hmac-sha256"]
[certificate]
validity_days = 7300
subject = [["CN", "{serial}"]]
key_usage = ["digitalSignature"]
"""


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ('name = "sensor"', 'name = "sensor"\nnmae = "x"', "nmae: no such key"),
        ('name = "sensor"', "", "name: it is missing"),
        (
            "hmac-sha256",
            "hmac",
            "evidence.methods.0: no evidence method 'hmac';"
            " known: hmac-sha256, none, nrf91, psa-token, tpm2, x509",
        ),
        ('[keys]\naccept = ["p256"]', 'keys = ["p256"]', "keys: must be a table"),
        ("[evidence]", "[evidence]\nminimum_firmware = 1", "evidence.minimum_firmware: must be a table"),
        ('["p256"]', "[]", "keys.accept: has 0 entries, and must have at least 1"),
        ('"hmac-sha256"', '"x509"', "evidence: method x509 needs its section [evidence.x509]"),
    ],
)
def test_problems(there: str, instead: str, said: str) -> None:
    parse_product(GOOD)
    with pytest.raises(Refused) as refused:
        parse_product(GOOD.replace(there, instead))
    assert (refused.value.code, refused.value.detail) == (Code.INVALID, said)
