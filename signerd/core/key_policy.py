"""Which public keys signerd certifies, and why not the others.

P-256, P-384, RSA of 2048, 3072 or 4096 bits with e = 65537. A point off its curve never parses
(SEC 1 §3.2.2.1). RSA moduli must not show ROCA (CVE-2017-15361), close primes, small factors or the other
patterns that the badkeys package knows; points must not come from a private key that anyone can guess.
"""

from __future__ import annotations

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


class WeakKeyError(ValueError):
    """The key is not one that signerd certifies: type, size or quality."""


def check_key(key: object) -> tuple[PublicKey, KeyType]:
    """An acceptable key and its type.

    Raises:
        WeakKeyError: a type, size, exponent or quality that is not accepted.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key, _check_ec(key)
    if isinstance(key, rsa.RSAPublicKey):
        return key, _check_rsa(key)
    raise WeakKeyError("neither ECDSA nor RSA")


def _check_ec(key: ec.EllipticCurvePublicKey) -> KeyType:
    key_type = _CURVES.get(key.curve.name)
    if key_type is None:
        raise WeakKeyError(f"curve {key.curve.name} is not accepted")
    if key.public_numbers().x in _guessable_x(key_type):
        raise WeakKeyError("the private key can be guessed")
    return key_type


@cache
def _guessable_x(key_type: KeyType) -> frozenset[int]:
    curve: ec.EllipticCurve = ec.SECP256R1() if key_type is KeyType.P256 else ec.SECP384R1()
    return frozenset(
        ec.derive_private_key(scalar, curve).public_key().public_numbers().x
        for scalar in range(1, _GUESSABLE_SCALARS + 1)
    )


def _check_rsa(key: rsa.RSAPublicKey) -> KeyType:
    from badkeys.checks import checkrsa  # noqa: PLC0415 (most lines have no RSA key, and it costs megabytes)

    numbers = key.public_numbers()
    key_type = _RSA_SIZES.get(key.key_size)
    if key_type is None:
        raise WeakKeyError(f"RSA of {key.key_size} bits is not accepted")
    if numbers.e != _EXPONENT:
        raise WeakKeyError("the RSA exponent is not 65537")
    findings = checkrsa(numbers.n, numbers.e, checks=_RSA_CHECKS)
    if findings:
        raise WeakKeyError(f"weak RSA key: {', '.join(sorted(findings))}")
    return key_type
