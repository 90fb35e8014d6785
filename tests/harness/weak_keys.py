"""RSA keys as a secure element with CVE-2017-15361 (ROCA) makes them."""

from __future__ import annotations

import hashlib
import math

from cryptography.hazmat.primitives.asymmetric import rsa

from harness.shared_primes import key_of

# Secure elements of one maker made primes of this form: k·M + 65537^a mod M, M the product of the first
# primes. Their RSA keys can be taken apart from the public half.
_PRIMORIAL = math.prod(n for n in range(2, 168) if all(n % d for d in range(2, n)))
_BITS = 1024
# Of the numbers that _candidate makes these are primes.
_PRIME_A, _PRIME_B = 38, 82


def roca_key() -> rsa.RSAPrivateKey:
    """2048 bits."""
    return key_of(_candidate(_PRIME_A), _candidate(_PRIME_B))


def _candidate(number: int) -> int:
    spread = int.from_bytes(hashlib.shake_256(f"roca {number}".encode()).digest(120)) % (
        (1 << (_BITS - 2)) // _PRIMORIAL
    )
    return ((3 << (_BITS - 2)) // _PRIMORIAL + spread) * _PRIMORIAL + pow(65537, number, _PRIMORIAL)
