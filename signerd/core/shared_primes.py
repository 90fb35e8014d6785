"""RSA moduli that share a prime, found among all of them at once: batch GCD with product and remainder trees
(D. J. Bernstein, "How to find smooth parts of integers", 2004; N. Heninger et al., "Mining your Ps and Qs",
USENIX Security 2012).

Two boards whose random generators started alike may draw one prime in common. Each key looks sound by itself;
the greatest common divisor of the two moduli is that prime, and gives both private keys to anyone.

The product of all moduli is held once, beside the tree of one part of them at a time: memory grows with the
moduli and not with the depth of the tree over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from gmpy2 import gcd, mpz

PART = 8192  # moduli a tree: for RSA-2048 some 30 MB, squares included
_Mpz: TypeAlias = mpz  # an integer of GMP: Python's own divide in quadratic time


def shared_primes(moduli: Iterable[int], part: int = PART) -> set[int]:
    """The moduli that share a prime with another one.

    Args:
        moduli: positive. The same one twice counts once: that is the same key, not another.
        part: how many make up one tree.
    """
    numbers = [mpz(modulus) for modulus in set(moduli)]
    product = _product(numbers)
    found: set[int] = set()
    for start in range(0, len(numbers), part):
        found.update(map(int, _shared_in(numbers[start : start + part], product)))
    return found


def _product(numbers: list[_Mpz]) -> _Mpz:
    """The product of all, by pairs; 1 of none. No more of the tree is kept than the level at hand."""
    while len(numbers) > 1:
        numbers = _pairwise(numbers)
    return numbers[0] if numbers else mpz(1)


def _pairwise(numbers: list[_Mpz]) -> list[_Mpz]:
    products = [left * right for left, right in zip(numbers[::2], numbers[1::2], strict=False)]
    return products + numbers[len(products) * 2 :]


def _shared_in(numbers: list[_Mpz], product: _Mpz) -> list[_Mpz]:
    """Those of `numbers` that share a prime with the rest of what `product` is the product of."""
    levels = [numbers]
    while len(levels[-1]) > 1:
        levels.append(_pairwise(levels[-1]))
    # The product modulo N² for each N. N divides it once; what is left shares a prime with N if another does.
    remainders = [product]
    while levels:
        level = levels.pop()
        remainders = [remainders[index // 2] % (number * number) for index, number in enumerate(level)]
    return [
        number
        for number, remainder in zip(numbers, remainders, strict=True)
        if gcd(number, remainder // number) != 1
    ]
