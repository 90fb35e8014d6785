"""The auditor's own renewal: it asks signerd for a newer certificate of its key, and keeps it once let in.

Whatever goes wrong, the old certificate stays.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.adapters.client import Credentials, GrpcLog
from auditor.config import Config, read_text_file
from auditor.core.csr import X509_ERRORS
from auditor.errors import ConfigError, Malformed
from birthmark.v1 import renewal_pb2 as pb

MAX_CAS = 4
_STATES = {
    pb.RENEWAL_STATE_NOT_DUE: "not_due",
    pb.RENEWAL_STATE_PENDING: "pending",
    pb.RENEWAL_STATE_DONE: "done",
}


@dataclass(frozen=True, slots=True)
class Renewal:
    """How it stands: `not_due`, `pending` (an administrator approves it) or `done`."""

    state: str
    uri: str
    until: datetime  # of the certificate in the file
    due_at: datetime


def renew(config: Config, connect: Callable[[Credentials], GrpcLog]) -> Renewal:
    """One attempt.

    Raises:
        Unreachable: no answer, or the newer certificate is not let in.
        Malformed: what signerd gave is not for this auditor.
        ConfigError: a file cannot be read or written.
    """
    old, credentials = _read(config)
    with connect(credentials) as log:
        answer = log.renewal()
    if answer.state not in _STATES:
        raise Malformed("a renewal of no known state")
    due_at = answer.due_at.ToDatetime(UTC)
    state = _STATES[answer.state]
    if state != "done":
        return Renewal(state, _uri(old), old.not_valid_after_utc, due_at)
    new, cas = _checked(old, answer)
    newer = Credentials(_pem(cas), _pem([new]), credentials.key)
    with connect(newer) as log:
        log.renewal()  # signerd lets it in
    # A crash between the two leaves the old certificate, with CAs that signerd's own is of.
    _replace(config.signerd.operations_ca, newer.operations_ca)
    _replace(config.identity.certificate, newer.certificate)
    return Renewal(state, _uri(new), new.not_valid_after_utc, due_at)


def _read(config: Config) -> tuple[x509.Certificate, Credentials]:
    pem = read_text_file(config.identity.certificate, "our certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except X509_ERRORS as error:
        raise ConfigError(
            f"{config.identity.certificate}: this is no certificate in PEM. Enroll again"
        ) from error
    cas = read_text_file(config.signerd.operations_ca, "the operations CA")
    return certificate, Credentials(cas, pem, read_text_file(config.identity.key, "our key"))


def _checked(
    old: x509.Certificate, answer: pb.RenewCertificateResponse
) -> tuple[x509.Certificate, Sequence[x509.Certificate]]:
    if not 1 <= len(answer.ca_der) <= MAX_CAS:
        raise Malformed("operations CAs, none or more than there may be")
    try:
        new = x509.load_der_x509_certificate(answer.certificate_der)
        cas = [x509.load_der_x509_certificate(der) for der in answer.ca_der]
        issued = any(_issued(new, ca) for ca in cas)
        ours = _spki(new) == _spki(old) and _uri(new) == _uri(old)
    except X509_ERRORS as error:
        raise Malformed("no certificate that can be read") from error
    if not ours or not issued:
        raise Malformed("the renewed certificate is not for this auditor, or of no operations CA")
    if new.not_valid_after_utc <= old.not_valid_after_utc and new.issuer == old.issuer:
        raise Malformed("the renewed certificate ends no later than the one that is there")
    return new, cas


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):  # of another key, or of another name
        return False
    return True


def _uri(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, *X509_ERRORS) as error:
        raise Malformed("a certificate without an auditor's URI") from error
    return str(uri)


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _replace(path: Path, data: bytes) -> None:
    """What was there before or the new file, whole, after a crash too."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}. See that this user may write there"
        ) from error
