"""What a station was given at enrolment, read from its files: certificate, key, and whom it trusts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from agent.config import Signerd
from agent.core.certificate import Trust
from agent.core.log_keys import LogKeyError, parse_log_keys, parse_witnesses
from agent.core.pem_text import PemError, check_lines
from agent.core.toml_text import TomlError, utf8_text, without_mark
from agent.errors import ConfigError

_AGAIN = "Run birthmark-agent enroll --install again, with the files that signerd's administrator gave you."
_CLOCK = "Set this PC's clock (Windows: w32tm /resync; Linux: timedatectl set-ntp true)."
RENEW = "Run birthmark-agent renew, and send the request that it makes to signerd's administrator."
_FORM = (
    "Mend that line, or take the file as it was sent."
    " Where two files become one, there is a line break between them."
)
_WITNESSES = (
    "Put the verifier keys there that the company names, one a line, and in signerd.witnesses_required how"
    " many of them have to cosign."
)
T = TypeVar("T")
_STATION = re.compile(r"birthmark://(?P<deployment>[^/]+)/station/(?P<site>[^/]+)/(?P<name>[^/]+)")
_MAX_FILE_BYTES = 65_536
_MAX_ROOTS = 16


@dataclass(frozen=True, slots=True)
class StationName:
    """Who a station's certificate says it is."""

    uri: str
    deployment: str
    site: str
    name: str


def read_file(path: Path, remedy: str = _AGAIN) -> bytes:
    """A small file of text, without a byte order mark: gRPC takes none before a PEM. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_FILE_BYTES} bytes", remedy=remedy)
    try:
        return without_mark(data)
    except TomlError as error:
        raise ConfigError(f"{path}: {error.what}", remedy=error.mend) from error


def _check_form(pem: bytes, what: str) -> None:
    """Before a file is parsed that goes to gRPC: it would not say which of them it cannot read, nor that."""
    try:
        check_lines(pem)
    except PemError as error:
        raise ConfigError(f"{what}: {error}", remedy=_FORM) from error


def parse_certificate(pem: bytes, what: str) -> x509.Certificate:
    """The first certificate of a PEM file. Raises ConfigError, naming `what`."""
    _check_form(pem, what)
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError(f"{what} is not a PEM certificate", remedy=_AGAIN) from error


def trust_of(signerd: Signerd) -> Trust:
    """What the configuration pins. Raises ConfigError."""
    return read_trust(signerd.log_vkey, signerd.device_root, signerd.witnesses, signerd.cosigners_at_least)


def read_trust(log_vkey: Path, device_root: Path, witnesses: Path | None = None, at_least: int = 0) -> Trust:
    """The device roots, the log's keys, and those of the witnesses that are to cosign. Raises ConfigError."""
    try:
        roots = x509.load_pem_x509_certificates(read_file(device_root))
    except ValueError as error:
        raise ConfigError(f"{device_root} is not a PEM certificate", remedy=_AGAIN) from error
    if len(roots) > _MAX_ROOTS:
        raise ConfigError(f"{device_root} holds more than {_MAX_ROOTS} certificates", remedy=_AGAIN)
    log_key = _read_keys(log_vkey, parse_log_keys, _AGAIN)
    if witnesses is not None:
        cosigners = _read_keys(witnesses, lambda text: parse_witnesses(text, at_least), _WITNESSES)
        log_key = replace(log_key, cosigners=cosigners)
    return Trust(tuple(roots), log_key)


def _read_keys(path: Path, parse: Callable[[str], T], remedy: str) -> T:
    try:
        return parse(utf8_text(read_file(path, remedy)))
    except LogKeyError as error:
        raise ConfigError(f"{path}: {error}", remedy=remedy) from error
    except TomlError as error:
        raise ConfigError(f"{path}: {error.what}", remedy=error.mend) from error


def check_pair(certificate: x509.Certificate, key_pem: bytes) -> None:
    """Raises ConfigError unless the private key is that of the certificate."""
    key = parse_key(key_pem, "the station's key", _AGAIN)
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        remedy = (
            "The certificate was made for another request: send station.csr.pem to the administrator again."
        )
        raise ConfigError("the station's certificate and key do not belong together", remedy=remedy)


def check_validity(certificate: x509.Certificate) -> None:
    """Raises ConfigError outside the certificate's time, by this PC's clock."""
    now, begin, end = datetime.now(UTC), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        detail = f"the station's certificate is not valid before {begin:%F %T} (it is {now:%F %T} here)"
        raise ConfigError(detail, remedy=_CLOCK)
    if now > end:
        detail = f"the station's certificate ended {end:%F %T} (it is {now:%F %T} here)"
        raise ConfigError(detail, remedy=f"{RENEW} If that is not the time, first: {_CLOCK}")


def parse_key(pem: bytes, what: str, remedy: str) -> PrivateKeyTypes:
    """A private key. Raises ConfigError, naming `what`."""
    _check_form(pem, what)
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{what} is not an unencrypted PEM private key", remedy=remedy) from error


def parse_cas(pem: bytes, what: str) -> list[x509.Certificate]:
    """The operations CAs of a PEM file: one, or two while one takes the other's place. Raises ConfigError."""
    _check_form(pem, what)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(f"{what} is not a PEM certificate", remedy=_AGAIN) from error


def check_issuer(certificate: x509.Certificate, operations_cas: Iterable[x509.Certificate]) -> None:
    """Raises ConfigError unless one of the operations CAs issued the certificate."""
    for ca in operations_cas:
        try:
            certificate.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    raise ConfigError("the station's certificate is not of this operations CA", remedy=_AGAIN)


def station_name(certificate: x509.Certificate) -> StationName:
    """Who the certificate says the station is. Raises ConfigError for anything but one station URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise ConfigError("the certificate has not exactly one URI", remedy=_AGAIN) from error
    match = _STATION.fullmatch(uri)
    if match is None:
        remedy = "Have the request signed with: signerd station add"
        raise ConfigError(f"the certificate is for {uri}, which is no station", remedy=remedy)
    return StationName(uri, match["deployment"], match["site"], match["name"])
