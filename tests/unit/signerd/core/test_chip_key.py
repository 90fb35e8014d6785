"""Keys of chips as docs/formats.md derives them, and that no two are alike."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from signerd.core.chip_key import KEY_BYTES, BurnedKey, derive_chip_key
from signerd.core.names import MacKey

MASTER = bytes(range(32))


def mac(message: bytes) -> bytes:
    return hmac.digest(MASTER, message, hashlib.sha256)


def test_the_key_of_hmac_sha256() -> None:
    key = derive_chip_key(mac, "chip:1", MacKey.CHIP, "sha256")
    assert key == mac(b"birthmark-chip-key-v1chip:1")


@pytest.mark.parametrize(("hash_name", "size"), [("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_an_iak_is_the_first_bytes_of_its_blocks(hash_name: str, size: int) -> None:
    prefix = b"birthmark-psa-iak-v1" + hash_name.encode()
    blocks = mac(prefix + b"\x01chip:1") + mac(prefix + b"\x02chip:1")
    assert derive_chip_key(mac, "chip:1", MacKey.PSA_IAK, hash_name) == blocks[:size]


def test_no_key_is_part_of_another() -> None:
    asked = [(MacKey.CHIP, "sha256"), *((MacKey.PSA_IAK, name) for name in KEY_BYTES)]
    # The second ends as the first begins, and the third holds what stands before a chip id.
    chips = ("1", "11", "\x011", "sha2561")
    keys = [derive_chip_key(mac, chip, *each) for chip in chips for each in asked]
    assert len({key[:16] for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("key", "hash_name"), [(MacKey.CHIP, "sha384"), (MacKey.CHIP, ""), (MacKey.PSA_IAK, "sha1")]
)
def test_a_chip_has_no_other_key(key: MacKey, hash_name: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        derive_chip_key(mac, "chip:1", key, hash_name)


def test_what_is_burned_is_named_as_in_the_ledger() -> None:
    assert {key.value: key.mac_key for key in BurnedKey} == {
        "hmac-sha256": (MacKey.CHIP, "sha256"),
        "psa-iak-sha256": (MacKey.PSA_IAK, "sha256"),
        "psa-iak-sha384": (MacKey.PSA_IAK, "sha384"),
        "psa-iak-sha512": (MacKey.PSA_IAK, "sha512"),
    }
