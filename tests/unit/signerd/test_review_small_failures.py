"""Failures of the machine around signerd that pass: none of them may become one that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from signerd.adapters.logs import configure_logs
from signerd.adapters.mtls import PeerIdentities

EDI_PARTY_NAME = bytes.fromhex("3008a506a1040c024142")  # a SubjectAltName that the package does not read


class FullDisk:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.full = True

    def write(self, line: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(line)

    def flush(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    configure_logs("info")
    yield disk
    structlog.reset_defaults()


def test_a_line_that_cannot_be_written_fails_nothing(disk: FullDisk) -> None:
    log = structlog.get_logger()
    log.info("lost")
    disk.full = False
    log.info("written")
    assert ["written" in line for line in disk.lines] == [True]


def test_a_certificate_with_a_name_that_nobody_reads_names_nobody() -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    san = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, EDI_PARTY_NAME)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(x509.Name([]))
        .subject_name(x509.Name([]))
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(san, critical=False)
        .sign(key, hashes.SHA256())
    )
    assert PeerIdentities("dev").of({"x509_pem_cert": [certificate.public_bytes(Encoding.PEM)]}) is None
