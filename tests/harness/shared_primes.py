"""RSA keys as a board with a broken random generator makes them."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65537


def key_of(p: int, q: int) -> rsa.RSAPrivateKey:
    """The key of these two primes."""
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)  # it takes longer than all the rest


@cache
def two_with_a_shared_prime() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Each sound by itself, 2048 bits."""
    first, second = (rsa.generate_private_key(_EXPONENT, 2048) for _ in range(2))
    return first, key_of(first.private_numbers().p, second.private_numbers().p)
