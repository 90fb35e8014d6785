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

from signerd.core.evidence.rules import METHOD_NAMES
from signerd.core.names import Level

# iso.org.dod.internet.private.enterprise (RFC 1155 §3.1.4): nothing of RFC 5280 can be meant by it.
PRIVATE_ENTERPRISES = "1.3.6.1.4.1."
_SEQUENCE, _INTEGER, _OCTET_STRING, _UTF8_STRING = 0x30, 0x02, 0x04, 0x0C
_VERSION = bytes((_INTEGER, 1, 1))
_DIGEST_BYTES = 32
# Version, level, method and digest, each with a header of two octets, and the longest names that there are.
_MAX_BYTES = (
    2 + 3 + 2 + max(len(level.label) for level in Level) + 2 + max(map(len, METHOD_NAMES)) + 2 + _DIGEST_BYTES
)


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
        if self.method not in METHOD_NAMES or len(self.evidence_sha256) != _DIGEST_BYTES:
            raise EvidenceExtensionError("no such method, or not a SHA-256")
        return _element(
            _SEQUENCE,
            _VERSION
            + _element(_UTF8_STRING, self.level.label.encode())
            + _element(_UTF8_STRING, self.method.encode())
            + _element(_OCTET_STRING, self.evidence_sha256),
        )

    def extension(self, oid: str) -> x509.UnrecognizedExtension:
        """The extension under this OID, for a certificate."""
        return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), self.encode())


def _element(tag: int, content: bytes) -> bytes:
    # The whole statement is below 128 octets: every length has one octet (X.690 §10.1).
    return bytes((tag, len(content))) + content


def parse(data: bytes) -> EvidenceStatement:
    """Reads a statement.

    Raises:
        EvidenceExtensionError: anything but the one DER encoding of a statement.
    """
    if len(data) > _MAX_BYTES:
        raise EvidenceExtensionError("longer than a statement can be")
    position = 2 + len(_VERSION)
    level, position = _take(data, position)
    method, position = _take(data, position)
    digest, _ = _take(data, position)
    try:
        statement = EvidenceStatement(Level.from_label(level.decode()), method.decode(), digest)
        # Tags, lengths, version, and what follows: whatever is not as it must be comes out in the comparison.
        if statement.encode() == data:
            return statement
    except ValueError as error:
        raise EvidenceExtensionError(f"not a statement about evidence: {error}") from error
    raise EvidenceExtensionError("not the DER encoding of a statement about evidence")


def _take(data: bytes, position: int) -> tuple[bytes, int]:
    """The content of the element at `position`, by its length octet alone, and where the next one begins."""
    body = position + 2
    end = body + data[position + 1] if body <= len(data) else body
    return data[body:end], end
