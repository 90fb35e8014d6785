"""Whether what a key holder gave is a signature: looked at before anybody builds on it.

A token that is failing may give bytes that are none, and go on. Issuance and ledger look again, with the
certificates and keys that they go by; this look is what tells a damaged signature from a wrong request while
another process can still sign in its place.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.adapters.keyholder.protocol import Operation, Setup
from signerd.core import note


class Signatures:
    """The public keys that go with what `Setup` names."""

    def __init__(self, setup: Setup) -> None:
        """Raises ValueError: the certificate has no EC key, or it or the verifier key is not of its form."""
        key = x509.load_der_x509_certificate(setup.certificate).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the CA's certificate has no EC key")  # noqa: TRY004 -- a wrong file, no wrong type
        self._authority = key
        self._algorithm = ec.ECDSA(
            hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()
        )
        self._log: Ed25519PublicKey | None = None
        if setup.vkey:
            self._log = Ed25519PublicKey.from_public_bytes(note.parse_vkey(setup.vkey).public_key)

    def hold(self, operation: Operation, data: bytes, signature: bytes) -> bool:
        """True if these bytes are the signature over `data` that the operation should give."""
        try:
            if operation is Operation.SIGN_CHECKPOINT:
                self._the_log().verify(signature, data)
            else:
                self._authority.verify(signature, data, self._algorithm)
        except InvalidSignature:
            return False
        return True

    def point(self, operation: Operation) -> bytes:
        """The public key of the operation, as CKA_EC_POINT has it, but for its wrapping."""
        if operation is Operation.SIGN_CHECKPOINT:
            return self._the_log().public_bytes_raw()
        return self._authority.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def _the_log(self) -> Ed25519PublicKey:
        if self._log is None:
            raise ValueError("this key holder has no checkpoint key")
        return self._log
