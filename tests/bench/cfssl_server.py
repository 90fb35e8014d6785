"""cfssl beside us, on equal terms: mTLS, a P-256 CA, every certificate in SQLite with write-ahead log.

What it does not do, and signerd does: a key in a token, evidence, work orders, a ledger, a durable intent.
"""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.process import Program, wait_until

# certdb/sqlite/migrations of cfssl, as far as signing touches them.
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE certificates (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,
  reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL,
  PRIMARY KEY (serial_number, authority_key_identifier));
"""
_PROFILE = {"signing": {"default": {"usages": ["digital signature", "client auth"], "expiry": "175200h"}}}


@dataclass(frozen=True, slots=True)
class Cfssl:
    """A running `cfssl serve`, and what a client needs to call it."""

    port: int
    ca_file: Path
    client_certificate: Path
    client_key: Path


def installed() -> bool:
    """True if there is a `cfssl` to compare with."""
    return shutil.which("cfssl") is not None


@contextmanager
def running(directory: Path) -> Iterator[Cfssl]:
    """Starts `cfssl serve` in `directory` and ends it afterwards."""
    directory.mkdir(parents=True)
    ca_key = _new_key(directory / "ca.key")
    ca = _certificate("bench CA", ca_key, ca_key, issuer=None, path=directory / "ca.pem")
    for name in ("server", "client"):
        _certificate(
            name, _new_key(directory / f"{name}.key"), ca_key, issuer=ca, path=directory / f"{name}.pem"
        )
    with closing(sqlite3.connect(directory / "certificates.db")) as database:
        database.executescript(_SCHEMA)
    (directory / "db.json").write_text(
        json.dumps({"driver": "sqlite3", "data_source": str(directory / "certificates.db")}), encoding="utf-8"
    )
    (directory / "config.json").write_text(json.dumps(_PROFILE), encoding="utf-8")
    port = _free_port()
    command: list[str | Path] = [
        "cfssl",
        "serve",
        "-address",
        "127.0.0.1",
        "-port",
        str(port),
        "-loglevel",
        "3",
    ]
    command += ["-ca", directory / "ca.pem", "-ca-key", directory / "ca.key"]
    command += ["-tls-cert", directory / "server.pem", "-tls-key", directory / "server.key"]
    command += ["-mutual-tls-ca", directory / "ca.pem"]
    command += ["-config", directory / "config.json", "-db-config", directory / "db.json"]
    with Program(command, log=directory / "cfssl") as program:
        wait_until(lambda: _listens(port), "cfssl to listen", program=program)
        yield Cfssl(port, directory / "ca.pem", directory / "client.pem", directory / "client.key")


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return key


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    path: Path,
) -> x509.Certificate:
    now, subject = datetime.now(UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(ca_key, hashes.SHA256())
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
