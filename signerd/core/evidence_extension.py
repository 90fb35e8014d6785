"""The certificate extension that says which evidence a certificate rests on (docs/formats.md, "Certificate
extension").

Guarantees that a statement has exactly one encoding, and that `parse` accepts that one and no other bytes.
It goes under an OID of the company's own, never critical: a relying party that does not know it must still
take the certificate (RFC 5280 §4.2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from signerd.core import der
from signerd.core.evidence import METHODS
from signerd.core.names import Level

_VERSION = der.element(der.INTEGER, b"\x01")
_DIGEST_BYTES = 32


class EvidenceExtensionError(ValueError):
    """The bytes are no statement about evidence."""


@dataclass(frozen=True, slots=True)
class EvidenceStatement:
    """Which evidence a certificate rests on."""

    level: Level
    method: str
    evidence_sha256: bytes

    @classmethod
    def about(cls, level: Level, method: str, evidence: bytes) -> Self:
        """The statement about these bytes of evidence."""
        return cls(level, method, hashlib.sha256(evidence).digest())

    def encode(self) -> bytes:
        """`BirthmarkEvidence`, DER. Raises EvidenceExtensionError for a method or digest that is none."""
        if self.method not in METHODS or len(self.evidence_sha256) != _DIGEST_BYTES:
            raise EvidenceExtensionError("no such method, or not a SHA-256")
        return der.sequence(
            _VERSION,
            der.element(der.UTF8_STRING, self.level.label.encode()),
            der.element(der.UTF8_STRING, self.method.encode()),
            der.element(der.OCTET_STRING, self.evidence_sha256),
        )

    def extension(self, oid: str) -> x509.UnrecognizedExtension:
        """The extension under this OID, for a certificate."""
        return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), self.encode())


def parse(data: bytes) -> EvidenceStatement:
    """Reads a statement.

    Raises:
        EvidenceExtensionError: anything but the one DER encoding of a statement.
    """
    try:
        _, level, method, digest = der.elements(der.content(data, der.SEQUENCE))
        statement = EvidenceStatement(
            Level.from_label(der.content(level, der.UTF8_STRING).decode()),
            der.content(method, der.UTF8_STRING).decode(),
            der.content(digest, der.OCTET_STRING),
        )
        # The version, and a method or digest that is none.
        if statement.encode() == data:
            return statement
    except ValueError as error:
        raise EvidenceExtensionError(f"not a statement about evidence: {error}") from error
    raise EvidenceExtensionError("not the DER encoding of a statement about evidence")
