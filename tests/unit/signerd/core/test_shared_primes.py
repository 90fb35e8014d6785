"""Moduli that share a prime are found among all of them, and no others."""

from __future__ import annotations

import itertools
import random
from math import gcd, prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.core.shared_primes import shared_primes

# Odd primes below 2,000: small ones serve as well, since nothing here depends on their size.
PRIMES = [n for n in range(3, 2000, 2) if all(n % divisor for divisor in range(3, n, 2))]


def by_pairs(moduli: set[int]) -> set[int]:
    """What the definition says, pair by pair."""
    shared = (pair for pair in itertools.combinations(moduli, 2) if gcd(*pair) != 1)
    return set(itertools.chain.from_iterable(shared))


@pytest.mark.parametrize("part", [1, 2, 3, 64, 10_000])
def test_two_with_a_prime_in_common_are_found_among_many(part: int) -> None:
    primes = random.Random(7).sample(PRIMES, 241)
    common, first, second, *rest = primes
    sound = [left * right for left, right in zip(rest[::2], rest[1::2], strict=True)]
    moduli = [*sound[:50], common * first, *sound[50:], common * second]
    assert shared_primes(moduli, part) == {common * first, common * second}
    assert shared_primes(moduli[:-1], part) == set()


@given(st.lists(st.tuples(st.sampled_from(PRIMES[:60]), st.sampled_from(PRIMES[:60])), max_size=40))
@settings(deadline=None)
def test_it_finds_what_comparing_each_pair_finds(factors: list[tuple[int, int]]) -> None:
    moduli = {prod(pair) for pair in factors}
    for part in (3, 8192):
        assert shared_primes(moduli, part) == by_pairs(moduli)


def test_the_same_modulus_twice_is_one_key() -> None:
    assert shared_primes([15, 15, 77]) == set()
    assert shared_primes([15, 15, 21]) == {15, 21}


def test_a_modulus_that_divides_another_is_found_with_it() -> None:
    assert shared_primes([15, 15 * 49, 143]) == {15, 15 * 49}


@pytest.mark.parametrize("moduli", [[], [15]])
def test_none_or_one_share_nothing(moduli: list[int]) -> None:
    assert shared_primes(moduli) == set()


def test_real_keys() -> None:
    keys = [rsa.generate_private_key(65537, 1024).private_numbers() for _ in range(3)]
    crossed = keys[0].p * keys[1].p
    moduli = [key.public_numbers.n for key in keys]
    assert shared_primes(moduli) == set()
    assert shared_primes([*moduli, crossed]) == {moduli[0], moduli[1], crossed}
