"""How a sub-CA signs: one algorithm for each type of key that it may have.

P-256 and P-384 sign by ECDSA with SHA-256 and SHA-384; RSA with 2048, 3072 or 4096 bits by RSASSA-PKCS1-v1_5
with SHA-256. RSASSA-PSS is left out: clouds and brokers that want an RSA issuer take the older form, and not
all of them the newer one.

    key, algorithm = issuer_key(certificate.public_key())
    algorithm.verify(key, signature, tbs)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from signerd.core import der

IssuerKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
ThrowawayKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
RSA_BITS = {"rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096}
RSA_EXPONENT = 65537
# Of SHA-256, but for the digest (RFC 8017 §9.2, note 1): what CKM_RSA_PKCS pads.
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
# AlgorithmIdentifiers: ecdsa-with-SHA256 and -SHA384, without parameters (RFC 5758 §3.2);
# sha256WithRSAEncryption, with NULL (RFC 4055 §5).
_ECDSA = bytes.fromhex("06082a8648ce3d0403")
_SHA256_RSA = der.sequence(bytes.fromhex("06092a864886f70d01010b"), b"\x05\x00")


@dataclass(frozen=True, slots=True)
class IssuerAlgorithm:
    """Of one type of key."""

    identifier: bytes  # AlgorithmIdentifier, DER
    hash: hashes.SHA256 | hashes.SHA384
    key_type: str

    def verify(self, key: IssuerKey, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature. `key` is of this type."""
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), self.hash)
        else:
            key.verify(signature, message, ec.ECDSA(self.hash))

    def sign(self, key: ThrowawayKey, message: bytes) -> bytes:
        """With a key in software: one that is thrown away."""
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), self.hash)
        return key.sign(message, ec.ECDSA(self.hash))

    def throwaway(self) -> ThrowawayKey:
        """A key whose signatures have this algorithm. An RSA key has 2048 bits, whatever the issuer's has."""
        if self.key_type in RSA_BITS:
            return _rsa_throwaway()
        return ec.generate_private_key(ec.SECP384R1() if self.key_type == "p384" else ec.SECP256R1())


ALGORITHMS = {
    "p256": IssuerAlgorithm(der.sequence(_ECDSA + b"\x02"), hashes.SHA256(), "p256"),
    "p384": IssuerAlgorithm(der.sequence(_ECDSA + b"\x03"), hashes.SHA384(), "p384"),
    **{name: IssuerAlgorithm(_SHA256_RSA, hashes.SHA256(), name) for name in RSA_BITS},
}
KEY_TYPES = tuple(ALGORITHMS)  # as `signerd init --key-type` names them
_TYPES_OF_CURVES = {"secp256r1": "p256", "secp384r1": "p384"}
_TYPES_OF_SIZES = {bits: name for name, bits in RSA_BITS.items()}


def issuer_key(key: object) -> tuple[IssuerKey, IssuerAlgorithm]:
    """A sub-CA's public key, and how it signs. Raises ValueError: no type that issues."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _TYPES_OF_CURVES:
        return key, ALGORITHMS[_TYPES_OF_CURVES[key.curve.name]]
    if (
        isinstance(key, rsa.RSAPublicKey)
        and key.public_numbers().e == RSA_EXPONENT
        and key.key_size in _TYPES_OF_SIZES
    ):
        return key, ALGORITHMS[_TYPES_OF_SIZES[key.key_size]]
    raise ValueError("an issuer's key must be P-256, P-384, or RSA of 2048, 3072 or 4096 bits with e = 65537")


@lru_cache(maxsize=1)
def _rsa_throwaway() -> rsa.RSAPrivateKey:
    # Made once: it signs nothing that anybody sees, and takes a tenth of a second.
    return rsa.generate_private_key(RSA_EXPONENT, 2048)
