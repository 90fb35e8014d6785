"""RSA keys for tests to which it does not matter that a key is like no other: making one takes seconds.

    key = constant_rsa_key(3072)
    other = constant_rsa_key(3072, 1)

They are of constant primes, so anybody has them: of a beginning that is derived, and of the way from there to
the next prime. To search for the primes anew would take as long as to make keys.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

from harness.shared_primes import key_of

# Bits of a prime -> the way to prime number n, from 0 on, from `_beginning`.
_OFFSETS = {
    1024: (1390, 234, 1228, 621, 65, 3472, 2131, 435),
    1536: (376, 787, 419, 4717, 491, 5395),
    2048: (
        938, 5009, 195, 947, 1009, 3080, 656, 232, 2217, 1018, 608, 2649, 1461, 493, 2412, 395, 943,
        571, 1450, 243, 807, 782, 4021, 4368, 226, 2298, 3145, 1192, 2705, 826, 5321, 652, 844, 399,
        639, 804, 400, 293, 430, 1618, 18, 770, 3676,
    ),
}  # fmt: skip


@cache
def constant_rsa_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """Key `number` of 2048, 3072 or 4096 bits, with exponent 65537; no two have a prime in common."""
    first, second = (_prime(bits // 2, 2 * number + half) for half in range(2))
    return key_of(first, second)


def constant_primes(bits: int) -> list[int]:
    """All that there are of a size, for keys that have primes in common; of 2048 bits enough for 900 keys."""
    return [_prime(bits, number) for number in range(len(_OFFSETS[bits]))]


def _prime(bits: int, number: int) -> int:
    return _beginning(bits, number) + _OFFSETS[bits][number]


def _beginning(bits: int, number: int) -> int:
    digits = hashlib.shake_256(f"test key {bits} {number}".encode()).digest(bits // 8)
    return int.from_bytes(digits, "big") | 3 << bits - 2
