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

from auditor.config import read_bytes
from auditor.core import forms
from auditor.core.csr import X509_ERRORS
from auditor.core.note import parse_vkey
from auditor.errors import ConfigError, Malformed

MAX_ROOTS = 16  # pinned: one for each chain that issuers have, or had
KEY, REQUEST, CERTIFICATE = "auditor.key", "auditor.csr.pem", "auditor.pem"
OPERATIONS_CA, VKEY, DEVICE_ROOT, CONFIG = "operations-ca.pem", "log.vkey", "device-root.pem", "auditor.toml"

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
        raise ConfigError(f"{uri} is no auditor's URI: names are 1 to 64 of [A-Za-z0-9._-]") from error
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
        raise ConfigError(f"{directory / KEY} exists: enroll into another directory") from error
    except OSError as error:
        raise ConfigError(f"cannot write into {directory}: {error.strerror}") from error
    return directory / REQUEST


def install(directory: Path, files: Installed) -> Path:
    """Checks what came back and writes the configuration; returns its path.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    certificate = _certificate(files.certificate)
    operations_cas = _certificates(files.operations_ca)
    vkey = read_bytes(files.log_vkey, "the log's verifier key")
    roots = load_roots(files.device_root)
    deployment = _deployment(certificate)
    _check_ours(directory, certificate, operations_cas)
    load_vkey(vkey)
    contents = {
        CERTIFICATE: certificate.public_bytes(Encoding.PEM),
        OPERATIONS_CA: b"".join(ca.public_bytes(Encoding.PEM) for ca in operations_cas),
        VKEY: vkey,
        DEVICE_ROOT: b"".join(root.public_bytes(Encoding.PEM) for root in roots),
        CONFIG: _TOML.format(deployment=deployment, endpoint=files.endpoint).encode(),
    }
    try:
        for name, content in contents.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write into {directory}: {error.strerror}") from error
    return directory / CONFIG


def load_vkey(data: bytes) -> str:
    """The verifier key's text, its form checked. Raises ConfigError."""
    try:
        text = data.decode("utf-8").strip()
        parse_vkey(text)
    except (UnicodeDecodeError, Malformed) as error:
        raise ConfigError(f"the log's verifier key: {error}") from error
    return text


def load_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """The device root, a self-signed CA certificate, or several of them. Raises ConfigError."""
    try:
        roots = x509.load_pem_x509_certificates(read_bytes(path, "the device root"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error
    if len(roots) > MAX_ROOTS:
        raise ConfigError(f"{path} holds {len(roots)} certificates, at most {MAX_ROOTS}")
    for root in roots:
        _check_root(root, path)
    return tuple(roots)


def _check_root(root: x509.Certificate, path: Path) -> None:
    try:
        root.verify_directly_issued_by(root)
        is_ca = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, x509.ExtensionNotFound, *X509_ERRORS) as error:
        raise ConfigError(f"{path} is not a self-signed CA certificate") from error
    if not is_ca:
        raise ConfigError(f"{path} is not a CA certificate")


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_bytes(path, "the certificate"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error


def _certificates(path: Path) -> list[x509.Certificate]:
    """The operations CAs: one, or two while one takes the other's place."""
    try:
        return x509.load_pem_x509_certificates(read_bytes(path, "the operations CA"))
    except X509_ERRORS as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error


def _deployment(certificate: x509.Certificate) -> str:
    """From the URI SAN, which must be an auditor's."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return str(forms.auditor(uri)).split("/")[2]
    except (x509.ExtensionNotFound, Malformed, *X509_ERRORS) as error:
        raise ConfigError("the certificate bears no auditor's URI") from error


def _check_ours(
    directory: Path, certificate: x509.Certificate, operations_cas: Sequence[x509.Certificate]
) -> None:
    try:
        key = load_pem_private_key(read_bytes(directory / KEY, "our key"), None)
        ours = any(_issued(certificate, ca) for ca in operations_cas)
    except X509_ERRORS as error:
        raise ConfigError(f"our key or the certificate's issuer: {error}") from error
    if not ours:
        raise ConfigError("the certificate is not the operations CA's")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise ConfigError(f"the certificate is not for the key in {directory / KEY}")


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):  # of another key, or of another name
        return False
    return True
