"""Enrolment: the auditor's own key and request, and the installation of the certificate that comes back.

The key is made here and stays here. `install` refuses a certificate that is not for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from auditor.config import TrustFiles, read_text_file
from auditor.core import forms
from auditor.core.cosigners import Cosigners
from auditor.core.csr import X509_ERRORS
from auditor.core.proofs import parse_vkey
from auditor.errors import ConfigError, Malformed

MAX_ROOTS = 16  # pinned: one for each chain that issuers have, or had
KEY, REQUEST, CERTIFICATE = "auditor.key", "auditor.csr.pem", "auditor.pem"
OPERATIONS_CA, VKEY, DEVICE_ROOT, CONFIG = "operations-ca.pem", "log.vkey", "device-root.pem", "auditor.toml"

_WRITABLE = "See that this user may write there, and that the disk has room"
_COMPANYS = "Take the file that the company sent, or ask for it again"
_TOML = """\
deployment = "{deployment}"
state = "state"

[signerd]
endpoint = "{endpoint}"
operations_ca = "operations-ca.pem"

[identity]
certificate = "auditor.pem"
key = "auditor.key"

[trust]
log_vkey = "log.vkey"
device_root = "device-root.pem"
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """Files that came back from the company."""

    certificate: Path
    operations_ca: Path
    log_vkey: Path
    device_root: Path
    endpoint: str  # host:port


def make_request(directory: Path, *, deployment: str, name: str) -> Path:
    """Makes a P-256 key (mode 0600) and a request for an auditor's certificate; returns the request's path.

    Raises:
        ConfigError: a name is not of its form, or there is a key already.
    """
    uri = f"birthmark://{deployment}/auditor/{name}"
    try:
        forms.auditor(uri)
    except Malformed as error:
        raise ConfigError(
            f"{uri} is no name of an auditor: give --deployment and --name 1 to 64 of [A-Za-z0-9._-]"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(directory / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        (directory / REQUEST).write_bytes(request.public_bytes(Encoding.PEM))
    except FileExistsError as error:
        raise ConfigError(f"{directory / KEY} exists: give another directory with --dir") from error
    except OSError as error:
        raise ConfigError(f"cannot write into {directory}: {error.strerror}. {_WRITABLE}") from error
    return directory / REQUEST


def install(directory: Path, files: Installed) -> Path:
    """Checks what came back and writes the configuration; returns its path.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    certificate = _certificate(files.certificate)
    operations_cas = _certificates(files.operations_ca)
    vkey = load_vkey(files.log_vkey)
    roots = load_roots(files.device_root)
    deployment = _deployment(certificate, files.certificate)
    _check_ours(directory, certificate, operations_cas, files)
    contents = {
        CERTIFICATE: certificate.public_bytes(Encoding.PEM),
        OPERATIONS_CA: b"".join(ca.public_bytes(Encoding.PEM) for ca in operations_cas),
        VKEY: f"{vkey}\n".encode(),
        DEVICE_ROOT: b"".join(root.public_bytes(Encoding.PEM) for root in roots),
        CONFIG: _TOML.format(deployment=deployment, endpoint=files.endpoint).encode(),
    }
    try:
        for name, content in contents.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write into {directory}: {error.strerror}. {_WRITABLE}") from error
    return directory / CONFIG


def load_vkey(path: Path) -> str:
    """The verifier key's text, its form checked. Raises ConfigError."""
    try:
        text = read_text_file(path, "the log's verifier key").decode("utf-8").strip()
        parse_vkey(text)
    except (UnicodeDecodeError, Malformed) as error:
        raise ConfigError(f"{path}: this is no verifier key ({error}). {_COMPANYS}") from error
    return text


def load_cosigners(trust: TrustFiles, at_least: int | None = None) -> Cosigners:
    """The witnesses that the settings name; `at_least`: so many of them, whatever the settings say. Raises
    ConfigError."""
    path = trust.witnesses
    if path is None:
        return Cosigners()
    try:
        text = read_text_file(path, "the witnesses' verifier keys").decode("utf-8")
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        return Cosigners.of(keys, at_least or trust.witnesses_required or 1)
    except (UnicodeDecodeError, Malformed) as error:
        remedy = "Write a witness's verifier key a line, and demand no more of them than there are"
        raise ConfigError(f"{path}: {error}. {remedy}") from error


def load_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """The device root, a self-signed CA certificate, or several of them. Raises ConfigError."""
    try:
        roots = x509.load_pem_x509_certificates(read_text_file(path, "the device root"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path}: this is no certificate in PEM. {_COMPANYS}") from error
    if len(roots) > MAX_ROOTS:
        raise ConfigError(f"{path}: it holds {len(roots)} certificates, more than {MAX_ROOTS}. {_COMPANYS}")
    for root in roots:
        _check_root(root, path)
    return tuple(roots)


def load_operations_cas(path: Path) -> tuple[x509.Certificate, ...]:
    """Who may certify signerd, and sign a successor of its log. Raises ConfigError."""
    try:
        return tuple(x509.load_pem_x509_certificates(read_text_file(path, "the operations CA")))
    except X509_ERRORS as error:
        raise ConfigError(f"{path}: this is no certificate in PEM. {_COMPANYS}") from error


def _check_root(root: x509.Certificate, path: Path) -> None:
    try:
        root.verify_directly_issued_by(root)
        is_ca = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, x509.ExtensionNotFound, *X509_ERRORS) as error:
        raise ConfigError(f"{path}: this is no self-signed CA certificate. {_COMPANYS}") from error
    if not is_ca:
        raise ConfigError(f"{path}: this is no CA certificate. {_COMPANYS}")


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_text_file(path, "the certificate"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path}: this is no certificate in PEM. {_COMPANYS}") from error


def _certificates(path: Path) -> list[x509.Certificate]:
    """The operations CAs: one, or two while one takes the other's place."""
    try:
        return x509.load_pem_x509_certificates(read_text_file(path, "the operations CA"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path}: this is no certificate in PEM. {_COMPANYS}") from error


def _deployment(certificate: x509.Certificate, path: Path) -> str:
    """From the URI SAN, which must be an auditor's."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return str(forms.auditor(uri)).split("/")[2]
    except (x509.ExtensionNotFound, Malformed, *X509_ERRORS) as error:
        raise ConfigError(f"{path}: this certificate names no auditor. {_COMPANYS}") from error


def _check_ours(
    directory: Path,
    certificate: x509.Certificate,
    operations_cas: Sequence[x509.Certificate],
    files: Installed,
) -> None:
    try:
        key = load_pem_private_key(read_text_file(directory / KEY, "our key"), None)
        ours = any(_issued(certificate, ca) for ca in operations_cas)
    except X509_ERRORS as error:
        raise ConfigError(
            f"{directory / KEY} or {files.operations_ca} cannot be used: {error}. {_COMPANYS}"
        ) from error
    if not ours:
        raise ConfigError(
            f"{files.certificate}: the CA in {files.operations_ca} did not issue it. {_COMPANYS}"
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise ConfigError(
            f"{files.certificate}: this certificate is for another key than {directory / KEY}."
            " Send the request of this directory, and install what comes back"
        )


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):  # of another key, or of another name
        return False
    return True
