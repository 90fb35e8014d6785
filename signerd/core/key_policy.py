"""Which public keys signerd certifies, and why not the others.

P-256, P-384, RSA of 2048, 3072 or 4096 bits with e = 65537. A point off its curve never parses
(SEC 1 §3.2.2.1). RSA moduli must be composite, and must not show ROCA (CVE-2017-15361), close primes, small
factors or the other patterns that the badkeys package knows; points must not come from a private key that
anyone can guess.

The first key of a kind would wait for tables and a package. A daemon calls `prepare` before it serves.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from functools import cache, lru_cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gmpy2 import is_power, is_strong_prp, mpz

from signerd.core.names import KeyType

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES: dict[str, KeyType] = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384}
_RSA_SIZES = {2048: KeyType.RSA2048, 3072: KeyType.RSA3072, 4096: KeyType.RSA4096}
_EXPONENT = 65537  # FIPS 186-5 §A.1.1 wants it above 2^16; others are refused to keep one form
_RSA_CHECKS = ("fermat", "roca", "rsainvalid", "rsapoly", "smallfactors")
# Private keys 1 to 1024 (and their negatives, which share x): what a broken generator returns.
_GUESSABLE_SCALARS = 1024
# SP 800-186 §3.2.1: the primes of the fields. On these curves a = -3.
_FIELDS: dict[type[ec.EllipticCurve], int] = {
    ec.SECP256R1: 2**256 - 2**224 + 2**192 + 2**96 - 1,
    ec.SECP384R1: 2**384 - 2**128 - 2**96 + 2**32 - 1,
    ec.SECP521R1: 2**521 - 1,
}
# Moduli whose primality is remembered: the same few CAs stand in the chains of all boards.
_KNOWN_MODULI = 256
# Points of examples that reach production by mistake. The negative of a private key shares its x.
_PUBLISHED_X = frozenset(
    {
        # The attestation key of Trusted Firmware-M's dummy provisioning, which is its default.
        0x79EBA90E8BF450A6751576AD4599B07ADF938DA3BB0BD17D0036ED49A2D0FC3F,
        # The attestation key of the examples of RFC 9783, appendix A.
        0x4E5E22099E3BCEB45B446D1355FD1DC3B545947B6FD7C1C89D886798C3726E8F,
    }
)


class WeakKeyError(ValueError):
    """The key is not one that signerd certifies: type, size or quality."""


def check_key(key: object, accepted: Container[KeyType] = frozenset(KeyType)) -> tuple[PublicKey, KeyType]:
    """A key of an accepted type and of quality, and its type.

    Raises:
        WeakKeyError: a type, size, exponent or quality that is not accepted.
    """
    found = check_type(key, accepted)
    check_quality(found[0])
    return found


def check_type(key: object, accepted: Container[KeyType] = frozenset(KeyType)) -> tuple[PublicKey, KeyType]:
    """A key of an accepted type, which bounds what a signature by it costs to verify. Its quality costs more
    to find out than that, and is not looked at yet.

    Raises:
        WeakKeyError: a type, size or exponent that is not accepted.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        key_type = _CURVES.get(key.curve.name)
    elif isinstance(key, rsa.RSAPublicKey):
        key_type = _RSA_SIZES.get(key.key_size)
    else:
        raise WeakKeyError("neither ECDSA nor RSA")
    if key_type is None or key_type not in accepted:
        raise WeakKeyError(f"{key_type or 'its curve or size'} is not accepted")
    if isinstance(key, rsa.RSAPublicKey):
        _check_exponent(key)
    return key, key_type


def prepare() -> None:
    """Makes what the first key of each kind would wait for: some 0.2 s, for which nothing can be answered."""
    for curve in _FIELDS:
        _guessable_x(curve)
    _patterns((1 << 2047) | 1)


def check_quality(key: PublicKey) -> None:
    """Raises WeakKeyError for a key whose private half anyone can find. Points as `check_point`, RSA of any
    size."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        check_point(key)
    else:
        _check_exponent(key)
        check_modulus(key.public_numbers().n)


class QualityLater:
    """`check_quality` for a place where nothing may take long: points are looked at at once, which takes
    microseconds; RSA keys are kept in `keys`, and whoever made this has to have them looked at."""

    def __init__(self) -> None:
        self.keys: list[rsa.RSAPublicKey] = []

    def check(self, key: PublicKey) -> None:
        """Raises WeakKeyError for a point as `check_point`, and for an exponent."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            check_point(key)
        else:
            _check_exponent(key)
            self.keys.append(key)


def check_point(key: ec.EllipticCurvePublicKey) -> None:
    """Raises WeakKeyError for a point whose private key anyone can guess or look up, and for other curves
    than P-256, P-384 and P-521."""
    if type(key.curve) not in _FIELDS:
        raise WeakKeyError(f"curve {key.curve.name} is not one that is looked at")
    x = key.public_numbers().x
    if x in _guessable_x(type(key.curve)):
        raise WeakKeyError("the private key can be guessed")
    if x in _PUBLISHED_X:
        raise WeakKeyError("the private key was published with an example")


@cache
def _guessable_x(curve: type[ec.EllipticCurve]) -> frozenset[int]:
    """The x of the first multiples of the base point, each by one addition to the one before: on P-384 a
    multiplication for each would take twenty times as long."""
    base = ec.derive_private_key(1, curve()).public_key().public_numbers()
    prime, x, y = _FIELDS[curve], base.x, base.y
    found = [x]
    slope = 3 * (x * x - 1) * pow(2 * y, -1, prime)  # of the tangent, for the double (SEC 1 §2.2.1)
    for _ in range(2, _GUESSABLE_SCALARS + 1):
        before = x
        x = (slope * slope - before - base.x) % prime
        y = (slope * (before - x) - y) % prime
        found.append(x)
        slope = (y - base.y) * pow(x - base.x, -1, prime)
    return frozenset(found)


def _check_exponent(key: rsa.RSAPublicKey) -> None:
    if key.public_numbers().e != _EXPONENT:
        raise WeakKeyError("the RSA exponent is not 65537")


def check_modulus(modulus: int) -> None:
    """Raises WeakKeyError for an RSA modulus that anyone can factor."""
    findings = _patterns(modulus)
    if findings:
        raise WeakKeyError(f"weak RSA key: {', '.join(sorted(findings))}")
    # Last: one exponentiation of the modulus's size, 2 ms for 2048 bits and 16 ms for 4096.
    if _is_prime_or_power(modulus):
        raise WeakKeyError("weak RSA key: the modulus is a prime or a power")


def _patterns(modulus: int) -> Collection[str]:
    """The names of what badkeys finds."""
    # 13 MB that the other programs need not have.
    from badkeys.checks import checkrsa  # noqa: PLC0415

    found: dict[str, object] = checkrsa(modulus, _EXPONENT, checks=_RSA_CHECKS)
    return found


@lru_cache(maxsize=_KNOWN_MODULI)
def _is_prime_or_power(modulus: int) -> bool:
    """True for each prime, from which anyone computes the private key, as from a power of one.

    Every odd prime passes the strong test to base 2 (FIPS 186-5 §B.3.1); a composite that passes is one that
    somebody searched for. So one round decides, and a prime costs no more than another number.
    """
    number = mpz(modulus)
    return bool(is_strong_prp(number, 2) or is_power(number))
