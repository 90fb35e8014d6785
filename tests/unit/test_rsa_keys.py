from __future__ import annotations

import gmpy2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.rsa_keys import constant_rsa_key


@pytest.mark.parametrize(("bits", "keys"), [(2048, 4), (3072, 3), (4096, 21)])
def test_keys_of_constant_primes_are_sound_and_share_none(bits: int, keys: int) -> None:
    numbers = [constant_rsa_key(bits, number).private_numbers() for number in range(keys)]
    assert len({prime for each in numbers for prime in (each.p, each.q)}) == 2 * keys
    for each in numbers:
        assert gmpy2.is_strong_prp(each.p, 2)
        assert gmpy2.is_strong_prp(each.q, 2)
        assert each.public_numbers.n.bit_length() == bits
        assert (each.d * 65537 - 1) % ((each.p - 1) * (each.q - 1)) == 0
    assert isinstance(constant_rsa_key(bits), rsa.RSAPrivateKey)
    with pytest.raises(IndexError):
        constant_rsa_key(bits, keys)
