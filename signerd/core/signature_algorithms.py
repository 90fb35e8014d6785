"""Signature algorithms of CSRs and certificates: a list of AlgorithmIdentifiers, to the byte.

ECDSA and RSASSA-PKCS1-v1_5 with SHA-256, SHA-384 or SHA-512, and Ed25519. SHA-1 and MD5 collide; RSASSA-PSS,
DSA, Ed448 and SHA-3 are not what boards and chips' vendors sign with. NULL parameters are let pass for ECDSA
too, which Mbed TLS 2.28 and the nRF91 modem write against RFC 5758 §3.2, and their absence for RSA, which
RFC 4055 §5 wants to be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from signerd.core import der

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Algorithm = tuple[type[PublicKey], hashes.HashAlgorithm]

_NULL = b"\x05\x00"
_HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
# ecdsa-with-SHA256, -SHA384, -SHA512 (1.2.840.10045.4.3.{2,3,4}) and sha256WithRSAEncryption and its sisters
# (1.2.840.113549.1.1.{11,12,13}): SEQUENCE { OID } and { OID, NULL }.
_ECDSA = tuple(bytes.fromhex("06082a8648ce3d0403") + bytes((arc,)) for arc in (2, 3, 4))
_RSA = tuple(bytes.fromhex("06092a864886f70d0101") + bytes((arc,)) for arc in (11, 12, 13))
_ED25519 = der.sequence(bytes.fromhex("06032b6570"))  # 1.3.101.112; RFC 8410 §3: no parameters

OF_REQUESTS: Mapping[bytes, Algorithm] = {
    der.sequence(oid, *parameters): (kind, digest)
    for kind, oids in ((ec.EllipticCurvePublicKey, _ECDSA), (rsa.RSAPublicKey, _RSA))
    for oid, digest in zip(oids, _HASHES, strict=True)
    for parameters in ((), (_NULL,))
}
# The hash of Ed25519 is part of it; what stands here is not used.
ALGORITHMS: Mapping[bytes, Algorithm] = {**OF_REQUESTS, _ED25519: (ed25519.Ed25519PublicKey, hashes.SHA512())}


def check_signature(key: PublicKey, algorithm: bytes, signature: bytes, message: bytes) -> None:
    """Verifies a signature.

    Args:
        key: of a size that the caller bounds.
        algorithm: AlgorithmIdentifier, DER, of the list.

    Raises:
        ValueError: an algorithm that is not on the list, or not of the key's type.
        InvalidSignature: the key did not sign this.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError("the signature's algorithm is not on the list")
    kind, digest = ALGORITHMS[algorithm]
    if not isinstance(key, kind):
        raise ValueError("the signature's algorithm is not of the key's type")  # noqa: TRY004 (as above)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(digest))
    else:
        key.verify(signature, message, padding.PKCS1v15(), digest)
