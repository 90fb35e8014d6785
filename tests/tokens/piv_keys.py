"""What a PIV card holds: keys in slots, PIN and PUK with their tries, and the words with which it refuses."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tokens import tlv

_HASHES: dict[int, Callable[[], hashes.HashAlgorithm]] = {
    20: hashes.SHA1,
    28: hashes.SHA224,
    32: hashes.SHA256,
    48: hashes.SHA384,
    64: hashes.SHA512,
}


class Status(IntEnum):
    """Status words (ISO/IEC 7816-4, table 6)."""

    OK = 0x9000
    SECURITY_NOT_SATISFIED = 0x6982
    BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    REFERENCE_NOT_FOUND = 0x6A88
    WRONG_PARAMETERS = 0x6B00
    UNKNOWN_INSTRUCTION = 0x6D00


class Algorithm(IntEnum):
    """SP 800-78-4, table 6-2."""

    TRIPLE_DES = 0x03
    RSA_2048 = 0x07
    P256 = 0x11
    P384 = 0x14


class Policy(IntEnum):
    """When the PIN is asked for; for touch the same numbers mean never, always, and once in 15 seconds."""

    NEVER = 1
    ONCE = 2
    ALWAYS = 3


class StatusError(Exception):
    """The command ends with this status word."""

    def __init__(self, word: int) -> None:
        super().__init__(f"{word:04x}")
        self.word = word


Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_CURVES: dict[Algorithm, ec.EllipticCurve] = {Algorithm.P256: ec.SECP256R1(), Algorithm.P384: ec.SECP384R1()}


@dataclass(slots=True)
class HeldKey:
    """A key in a slot."""

    algorithm: Algorithm
    private: Private
    pin: int
    touch: int

    @classmethod
    def generate(cls, algorithm: Algorithm, pin: int, touch: int) -> Self:
        """A new one."""
        if algorithm is Algorithm.RSA_2048:
            return cls(algorithm, rsa.generate_private_key(65537, 2048), pin, touch)
        return cls(algorithm, ec.generate_private_key(_CURVES[algorithm]), pin, touch)

    def public(self) -> bytes:
        """As GENERATE ASYMMETRIC KEY PAIR answers (SP 800-73-4 part 2, table 12)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.private.public_key().public_numbers()
            return tlv.encode(0x81, numbers.n.to_bytes(256, "big")) + tlv.encode(0x82, b"\x01\x00\x01")
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return tlv.encode(0x86, point)

    def sign(self, digest: bytes) -> bytes:
        """ECDSA over a digest; for RSA the bare private operation over a padded block."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.private.private_numbers()
            modulus = numbers.public_numbers.n
            block = int.from_bytes(digest, "big")
            if len(digest) != 256 or block >= modulus:
                raise StatusError(Status.WRONG_DATA)
            return pow(block, numbers.d, modulus).to_bytes(256, "big")
        if len(digest) not in _HASHES:
            raise StatusError(Status.WRONG_DATA)
        return self.private.sign(digest, ec.ECDSA(Prehashed(_HASHES[len(digest)]())))

    def agree(self, point: bytes) -> bytes:
        """ECDH: the x coordinate."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            raise StatusError(Status.WRONG_DATA)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(self.private.curve, point)
        return self.private.exchange(ec.ECDH(), peer)


@dataclass(slots=True)
class Secret:
    """A PIN or PUK, and the tries that are left."""

    value: bytes
    tries: int = 3
    left: int = 3

    def check(self, given: bytes) -> None:
        """Raises StatusError: wrong, or no try is left."""
        if not self.left:
            raise StatusError(Status.BLOCKED)
        if not hmac.compare_digest(given.rstrip(b"\xff"), self.value):
            self.left -= 1
            raise StatusError(0x63C0 | self.left)
        self.left = self.tries

    def set(self, value: bytes) -> None:
        """A new value, with all tries."""
        self.value, self.left = value.rstrip(b"\xff"), self.tries
