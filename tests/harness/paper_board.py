"""A board without a line: makes what a board makes, at once, for tests that speak to signerd directly.

    board = PaperBoard("chip:1", chip_key)                        # method hmac-sha256
    board = PaperBoard("chip:2", attester=vendor.attester("chip:2"))  # any other (boards/attesters)
    csr, evidence = board.request(challenge)
    stamp, signature = board.stamp(challenge, serial_number, certificate_der, settings)

Each part can be had alone, and any of them may be another's: `board.evidence_for(challenge, other.csr())`,
`board.attester.attest(other.transcript(challenge, csr), csr)`. `PaperBoard(chip_id)` has no root of trust: it
is what a forger can build. A `twin` is the same chip with another key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2 as pb
from boards.attesters import csr_attestation
from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.port import Attester

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
    chip_key: bytes | None = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    firmware: dict[str, list[Any]] = field(default_factory=lambda: dict(DEFAULT_FIRMWARE))
    locks: dict[str, bool] = field(default_factory=lambda: dict(DEFAULT_LOCKS))
    attester: Attester | None = None  # its root of trust; a chip key makes one
    in_csr: bool = False  # evidence inside the CSR: psa-token and tpm2

    def __post_init__(self) -> None:
        if self.attester is None and self.chip_key is not None:
            self.attester = HmacAttester(self.chip_key)

    @property
    def method(self) -> str:
        """By which it proves itself."""
        return "none" if self.attester is None else self.attester.method

    def twin(self) -> PaperBoard:
        """The same chip once more, with another key: a clone, or a board that made its key anew."""
        return replace(self, key=_new_key())

    def csr(self) -> bytes:
        """A fresh CSR of the board's key, DER."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "board")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        return request.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def claims(self) -> bytes:
        """Claims over firmware and locks."""
        return deterministic([self.firmware, self.locks])

    def transcript(self, challenge: bytes, request: bytes) -> bytes:
        """What the root of trust signs; `request` is the CSR, or what stands for it (`in_csr`)."""
        digest = hashlib.sha256(request).digest()
        return deterministic(
            ["birthmark-evidence-v1", challenge, self.chip_id, digest, self.firmware, self.locks]
        )

    def evidence_for(self, challenge: bytes, csr: bytes) -> pb.Evidence:
        """Evidence over one CSR, which may be another's; nothing with method none."""
        made = b"" if self.attester is None else self.attester.attest(self.transcript(challenge, csr), csr)
        return pb.Evidence(method=self.method, claims=self.claims(), evidence=made)

    def request(self, challenge: bytes) -> tuple[bytes, pb.Evidence]:
        """CSR and evidence, as `SignCsr` wants them."""
        csr = self.csr()
        if not self.in_csr:
            return csr, self.evidence_for(challenge, csr)
        assert self.attester is not None, "evidence inside the CSR is a root of trust's"
        attest = self.attester.attest
        wrapped = csr_attestation.wrap(
            self.key, csr, self.method, lambda part: attest(self.transcript(challenge, part), csr)
        )
        return wrapped, pb.Evidence(method=self.method, claims=self.claims())

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
