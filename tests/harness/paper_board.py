"""A board without a line: makes what a board makes, at once, for tests that speak to signerd directly.

    board = PaperBoard("chip:1", chip_key)
    csr, evidence = board.request(challenge)
    stamp, signature = board.stamp(challenge, serial_number, certificate_der, settings)

`PaperBoard(chip_id, None)` has no secret: it is what a forger can build.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2 as pb

DEFAULT_FIRMWARE: dict[str, list[Any]] = {"app": ["1.2.0", hashlib.sha256(b"app 1.2.0").digest()]}
DEFAULT_LOCKS = {"secure_boot": True, "flash_encryption": True, "debug_closed": True}


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def deterministic(item: Any) -> bytes:
    """Deterministic CBOR of an item with text keys."""
    return cbor2.dumps(item, canonical=True)


@dataclass
class PaperBoard:
    """One board: its chip, its secret, its key, and what it says of itself."""

    chip_id: str
    chip_key: bytes | None
    key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    firmware: dict[str, list[Any]] = field(default_factory=lambda: dict(DEFAULT_FIRMWARE))
    locks: dict[str, bool] = field(default_factory=lambda: dict(DEFAULT_LOCKS))

    def csr(self) -> bytes:
        """A fresh CSR of the board's key, DER."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "board")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        return request.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def claims(self) -> bytes:
        """Claims over firmware and locks."""
        return deterministic([self.firmware, self.locks])

    def evidence_for(self, challenge: bytes, csr: bytes) -> pb.Evidence:
        """Evidence over one CSR: a MAC with the chip's secret, or nothing with method none."""
        if self.chip_key is None:
            return pb.Evidence(method="none", claims=self.claims())
        digest = hashlib.sha256(csr).digest()
        transcript = deterministic(
            ["birthmark-evidence-v1", challenge, self.chip_id, digest, self.firmware, self.locks]
        )
        mac = hmac.digest(self.chip_key, transcript, "sha256")
        return pb.Evidence(method="hmac-sha256", claims=self.claims(), evidence=mac)

    def request(self, challenge: bytes) -> tuple[bytes, pb.Evidence]:
        """CSR and evidence, as `SignCsr` wants them."""
        csr = self.csr()
        return csr, self.evidence_for(challenge, csr)

    def stamp_fields(
        self, challenge: bytes, serial_number: str, certificate: bytes, settings: bytes
    ) -> list[Any]:
        """The stamp's array, for tests that change one member."""
        return [
            "birthmark-stamp-v1",
            challenge,
            self.chip_id,
            serial_number,
            hashlib.sha256(certificate).digest(),
            hashlib.sha256(settings).digest(),
            self.firmware,
            self.locks,
            None,
        ]

    def sign(self, data: bytes) -> bytes:
        """ECDSA with SHA-256 by the board's key, DER."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def stamp(
        self, challenge: bytes, serial_number: str, certificate: bytes, settings: bytes
    ) -> tuple[bytes, bytes]:
        """The stamp and its signature."""
        data = deterministic(self.stamp_fields(challenge, serial_number, certificate, settings))
        return data, self.sign(data)
