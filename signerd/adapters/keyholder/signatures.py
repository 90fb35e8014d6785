"""Whether what a key holder gave is a signature: looked at before anybody builds on it.

A token that is failing may give bytes that are none, and go on. Issuance and ledger look again, with the
certificates and keys that they go by; this look is what tells a damaged signature from a wrong request while
another process can still sign in its place.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.adapters.keyholder.protocol import Operation, Setup
from signerd.core import note
from signerd.core.issuer_algorithm import issuer_key


class Signatures:
    """The public keys that go with what `Setup` names."""

    def __init__(self, setup: Setup) -> None:
        """Raises ValueError: the certificate's key issues nothing, or it or the verifier key is not of its
        form."""
        certified = x509.load_der_x509_certificate(setup.certificate).public_key()
        self._authority, self._algorithm = issuer_key(certified)
        self._log: Ed25519PublicKey | None = None
        if setup.vkey:
            self._log = Ed25519PublicKey.from_public_bytes(note.parse_vkey(setup.vkey).public_key)

    def hold(self, operation: Operation, data: bytes, signature: bytes) -> bool:
        """True if these bytes are the signature over `data` that the operation should give."""
        try:
            if operation is Operation.SIGN_CHECKPOINT:
                self._the_log().verify(signature, data)
            else:
                self._algorithm.verify(self._authority, signature, data)
        except InvalidSignature:
            return False
        return True

    def point(self, operation: Operation) -> bytes:
        """The public key of the operation, as CKA_EC_POINT has it, but for its wrapping, or CKA_MODULUS."""
        if operation is Operation.SIGN_CHECKPOINT:
            return self._the_log().public_bytes_raw()
        if isinstance(self._authority, rsa.RSAPublicKey):
            return self._authority.public_numbers().n.to_bytes((self._authority.key_size + 7) // 8, "big")
        return self._authority.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def _the_log(self) -> Ed25519PublicKey:
        if self._log is None:
            raise ValueError("this key holder has no checkpoint key")
        return self._log
