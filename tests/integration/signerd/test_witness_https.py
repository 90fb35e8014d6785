"""Witnesses over HTTPS: whose certificate signerd takes, by a private CA and by the system's roots."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from harness.paper_witness import PaperWitness
from harness.store_world import ORIGIN, SoftwareLogKey
from signerd.adapters.witness_line import WitnessDown, WitnessLine
from signerd.core.cosigning import parse_witness_key, read_answer, request_body
from signerd.core.note import Checkpoint, sign_note

NOW = datetime.now(UTC)
LOG = SoftwareLogKey()
TEXT = Checkpoint(ORIGIN, 7, bytes(32)).body()
BODY = request_body(0, [], sign_note(TEXT, (LOG.verifier, LOG._key.sign(TEXT))))


@dataclass
class Authority:
    """A CA of its own, or a certificate that signs itself."""

    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.issue(self.key, self.name, ca=True)

    def issue(
        self, key: ec.EllipticCurvePrivateKey, name: str, *, ca: bool = False, ended: bool = False
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca else self.certificate.subject
        end = NOW - timedelta(days=1) if ended else NOW + timedelta(days=30)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=60))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())

    def pem(self, folder: Path) -> Path:
        path = folder / f"{self.name}.pem"
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def server(self, folder: Path, name: str = "localhost", *, ended: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        return served(folder, key, self.issue(key, name, ended=ended))


def served(folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    """A server's side with this certificate."""
    path = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


OURS, OTHERS = Authority("private-ca"), Authority("another-ca")


def self_signed(folder: Path) -> ssl.SSLContext:
    own = Authority("localhost")
    return served(folder, own.key, own.certificate)


async def asked(tls: ssl.SSLContext | None, ca: Path | None) -> str:
    """The witness's name if its cosignature came; else why not."""
    with PaperWitness(tls=tls) as paper:
        line = WitnessLine(paper.url.replace("http://127.0.0.1", "https://localhost"), ca)
        try:
            status, kind, body = await line.post(BODY)
        except WitnessDown as error:
            assert not paper.requests  # it was told nothing
            return str(error)
        finally:
            line.close()
        assert read_answer(status, kind, body, text=TEXT, key=parse_witness_key(paper.vkey)).line
        return "cosigned"


REFUSED: dict[str, tuple[Callable[[Path], ssl.SSLContext], str]] = {
    "of another name": (lambda folder: OURS.server(folder, "witness.example"), "Hostname mismatch"),
    "expired": (lambda folder: OURS.server(folder, ended=True), "certificate has expired"),
    "of another CA": (OTHERS.server, "unable to get local issuer"),
    "self-signed": (self_signed, "self-signed certificate"),
}


async def test_a_private_ca_is_taken_where_it_is_named(tmp_path: Path) -> None:
    assert await asked(OURS.server(tmp_path), OURS.pem(tmp_path)) == "cosigned"


async def test_the_systems_roots_are_taken_where_no_ca_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(OURS.pem(tmp_path)))  # what OpenSSL takes for the system's
    assert await asked(OURS.server(tmp_path), None) == "cosigned"
    said = await asked(OURS.server(tmp_path), OTHERS.pem(tmp_path))
    assert "unable to get local issuer" in said  # a CA that is named takes their place


@pytest.mark.parametrize("by_system", [False, True], ids=["private CA", "system's roots"])
@pytest.mark.parametrize("name", REFUSED)
async def test_a_certificate_that_is_not_right_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, by_system: bool
) -> None:
    made, why = REFUSED[name]
    ca = OURS.pem(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    said = await asked(made(tmp_path), None if by_system else ca)
    assert "its TLS certificate is refused" in said
    assert why in said
    assert "[[witnesses]]" in said


async def test_the_systems_own_roots_take_no_private_ca(tmp_path: Path) -> None:
    assert "its TLS certificate is refused" in await asked(OURS.server(tmp_path), None)


async def test_a_witness_that_speaks_no_tls_is_no_answer(tmp_path: Path) -> None:
    said = await asked(None, OURS.pem(tmp_path))
    assert said != "cosigned"
    assert said
