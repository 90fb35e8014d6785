"""Which public keys signerd certifies, and why not the others.

P-256, P-384, RSA of 2048, 3072 or 4096 bits with e = 65537. A point off its curve never parses
(SEC 1 §3.2.2.1). RSA moduli must not show ROCA (CVE-2017-15361), close primes, small factors or the other
patterns that the badkeys package knows; points must not come from a private key that anyone can guess.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from signerd.core.names import KeyType

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES: dict[str, KeyType] = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384}
_RSA_SIZES = {2048: KeyType.RSA2048, 3072: KeyType.RSA3072, 4096: KeyType.RSA4096}
_EXPONENT = 65537  # FIPS 186-5 §A.1.1 wants it above 2^16; others are refused to keep one form
_RSA_CHECKS = ("fermat", "roca", "rsainvalid", "rsapoly", "smallfactors")
# Private keys 1 to 1024 (and their negatives, which share x): what a broken generator returns.
_GUESSABLE_SCALARS = 1024
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
    if isinstance(key, ec.EllipticCurvePublicKey):
        key_type = _CURVES.get(key.curve.name)
    elif isinstance(key, rsa.RSAPublicKey):
        key_type = _RSA_SIZES.get(key.key_size)
    else:
        raise WeakKeyError("neither ECDSA nor RSA")
    # First of all: what a product does not accept must not cost what its quality costs to find out.
    if key_type is None or key_type not in accepted:
        raise WeakKeyError(f"{key_type or 'its curve or size'} is not accepted")
    check_quality(key)
    return key, key_type


def check_quality(key: PublicKey) -> None:
    """Raises WeakKeyError for a key whose private half anyone can find. Any curve, any size."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        check_point(key)
    else:
        _check_modulus(key)


def check_point(key: ec.EllipticCurvePublicKey) -> None:
    """Raises WeakKeyError for a point whose private key anyone can guess or look up. Any curve."""
    x = key.public_numbers().x
    if x in _guessable_x(type(key.curve)):
        raise WeakKeyError("the private key can be guessed")
    if x in _PUBLISHED_X:
        raise WeakKeyError("the private key was published with an example")


@cache
def _guessable_x(curve: type[ec.EllipticCurve]) -> frozenset[int]:
    return frozenset(
        ec.derive_private_key(scalar, curve()).public_key().public_numbers().x
        for scalar in range(1, _GUESSABLE_SCALARS + 1)
    )


def _check_modulus(key: rsa.RSAPublicKey) -> None:
    # Most lines have no RSA key, and this costs 20 MB and, the first time, up to a second.
    from badkeys.checks import checkrsa  # noqa: PLC0415

    numbers = key.public_numbers()
    if numbers.e != _EXPONENT:
        raise WeakKeyError("the RSA exponent is not 65537")
    findings = checkrsa(numbers.n, numbers.e, checks=_RSA_CHECKS)
    if findings:
        raise WeakKeyError(f"weak RSA key: {', '.join(sorted(findings))}")
