"""Keys whose private half anyone can compute, and what the first key of a kind costs."""

from __future__ import annotations

import secrets
import sys
import tomllib
from datetime import UTC, datetime

import gmpy2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from boards.attesters.certificate_writer import basic_constraints, common_name, issue, key_usage
from boards.attesters.x509 import X509Vendor
from harness.rsa_keys import constant_rsa_key
from signerd.core import key_policy
from signerd.core.evidence.chain import validate_chain
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.key_policy import (
    QualityLater,
    WeakKeyError,
    check_key,
    check_point,
    check_quality,
    prepare,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CURVES: list[type[ec.EllipticCurve]] = [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1]
SIZES = [2048, 3072, 4096]


def prime(bits: int) -> int:
    return int(gmpy2.next_prime(1 << (bits - 1) | secrets.randbits(bits - 1)))


def public(modulus: int) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(65537, modulus).public_key()


def product_of_two(bits: int) -> int:
    return constant_rsa_key(bits).public_key().public_numbers().n


@pytest.mark.parametrize("bits", SIZES)
def test_a_prime_modulus_is_no_modulus(bits: int) -> None:
    check_key(public(product_of_two(bits)))
    with pytest.raises(WeakKeyError, match="prime or a power"):
        check_key(public(prime(bits)))


def test_the_power_of_a_prime_is_no_modulus() -> None:
    third = prime(1024)
    check_quality(public(third * prime(1024) * prime(1024)))
    with pytest.raises(WeakKeyError, match="prime or a power"):
        check_quality(public(third**3))


def test_a_prime_modulus_in_a_certificate_attests_nothing() -> None:
    vendor = X509Vendor()
    section = '[evidence]\nmethods = ["x509"]\n' + vendor.product_section()
    rules = EvidenceRules.model_validate(tomllib.loads(section)["evidence"]).x509
    assert rules is not None

    def leaf(modulus: int) -> bytes:
        spki = public(modulus).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        terms = (basic_constraints(ca=False), key_usage("digital_signature"))
        return issue(vendor.intermediate, common_name("CHIP-1"), spki, terms)

    above = vendor.intermediate.certificate
    validate_chain([leaf(product_of_two(2048)), above], rules.roots, NOW)
    with pytest.raises(EvidenceError, match="prime or a power"):
        validate_chain([leaf(prime(2048)), above], rules.roots, NOW)


@pytest.mark.parametrize("curve", CURVES)
def test_the_points_of_the_first_1024_private_keys(curve: type[ec.EllipticCurve]) -> None:
    for scalar in (1, 2, 3, 4, 5, 7, 31, 32, 33, 255, 256, 257, 1000, 1023, 1024):
        with pytest.raises(WeakKeyError, match="guessed"):
            check_point(ec.derive_private_key(scalar, curve()).public_key())
    check_point(ec.derive_private_key(1025, curve()).public_key())
    assert len(key_policy._guessable_x(curve)) == 1024


def test_a_curve_that_is_not_looked_at_is_refused() -> None:
    check_point(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(WeakKeyError, match="secp256k1"):
        check_point(ec.generate_private_key(ec.SECP256K1()).public_key())


def test_after_the_preparation_no_first_key_makes_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    key_policy._guessable_x.cache_clear()
    for module in [name for name in sys.modules if name.partition(".")[0] == "badkeys"]:
        monkeypatch.delitem(sys.modules, module)
    prepare()
    made = key_policy._guessable_x.cache_info().misses
    assert made == len(CURVES)
    assert "badkeys.checks" in sys.modules
    for curve in CURVES:
        check_point(ec.generate_private_key(curve()).public_key())
    assert key_policy._guessable_x.cache_info().misses == made


def test_quality_later_looks_at_points_and_keeps_rsa_keys() -> None:
    later, guessed = QualityLater(), ec.derive_private_key(7, ec.SECP256R1()).public_key()
    later.check(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(WeakKeyError, match="guessed"):
        later.check(guessed)
    assert later.keys == []
    # A modulus that anyone can factor: that is for whoever looks at it.
    weak = rsa.RSAPublicNumbers(65537, 3**1293).public_key()
    later.check(weak)
    assert later.keys == [weak]
    with pytest.raises(WeakKeyError, match="exponent"):
        later.check(rsa.RSAPublicNumbers(3, 3**1293).public_key())
