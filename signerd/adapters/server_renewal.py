"""`signerd server renew`: a new key and a new certificate for the server, in place of those that will end.

Of the names it guarantees that none is lost: a renewal has those of the certificate of before and those of
the settings, and drops one only where it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from signerd.adapters import operations_ca
from signerd.adapters.operations_ca import issuer_of
from signerd.adapters.server_files import ServerFiles
from signerd.config import Config
from signerd.core.server_names import covers, is_server_name, server_name, server_names
from signerd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Renamed:
    """What the new certificate's names are to be, beside those of before and of the settings."""

    added: Sequence[str] = ()
    dropped: Sequence[str] = ()


def renew(
    config: Config, base: Path, names: Renamed, now: datetime, *, under: x509.Certificate | None = None
) -> x509.Certificate:
    """With an operations CA of the installation in `base`; returns the certificate, which is in its place.

    The CA is the one of the certificate of before, which peers trust; `under` is another one that they trust.

    Raises:
        ConfigError: a name is none, the CA's key is not here, or a file cannot be written.
    """
    files = _files(config)
    with files.alone():
        wanted = _names(config, files, names)
        issuer = under or server_ca(config)
        ca = next((ca for ca in operations_ca.load_cas(base) if ca.certificate == issuer), None)
        if ca is None:
            raise ConfigError(
                f"the key of the CA that certifies the server ({issuer.subject.rfc4514_string()}, in"
                f" {config.server.client_ca}) is not in {base / operations_ca.KEYS}: where it is kept"
                " elsewhere, signerd server renew --request"
            )
        certificate, key = operations_ca.issue_server(ca, config.deployment, wanted, now)
        files.keep(key)
        files.take(certificate.public_bytes(Encoding.PEM), certificate)
    return certificate


def request(config: Config, names: Renamed) -> x509.CertificateSigningRequest:
    """A new key, kept beside the old one, and its request for an operations CA that is kept elsewhere.

    Raises:
        ConfigError: a name is none, or the key cannot be kept.
    """
    files = _files(config)
    with files.alone():
        wanted = _names(config, files, names)
        key = ec.generate_private_key(ec.SECP256R1())
        made = operations_ca.server_request(key, config.deployment, wanted)
        files.keep(key)
    return made


def install(
    config: Config, pem: bytes, now: datetime, *, under: x509.Certificate | None = None
) -> x509.Certificate:
    """The certificate that answers a request of before, in its place. Of the CA that `renew` says.

    Raises:
        ConfigError: it is not for a key of ours, not of this CA, no server's, not valid now, or lacks a name
            that stations dial.
    """
    certificate = check_answer(config, pem, now, under or server_ca(config))
    files = _files(config)
    with files.alone():
        files.take(pem, certificate)
    return certificate


def check_answer(config: Config, pem: bytes, now: datetime, ca: x509.Certificate) -> x509.Certificate:
    """The certificate that a CA made of a request, if it may take its place. Raises as `install`."""
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
        names = operations_ca.names_in(certificate)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError("no server's certificate in PEM") from error
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ConfigError(
            f"the certificate was not issued by {ca.subject.rfc4514_string()}, of {config.server.client_ca}"
        ) from error
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise ConfigError("the certificate is no server's: its extended key usage lacks serverAuth")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigError("the certificate is not valid now")
    missing = [name for name in config.server.names if not covers(names, name)]
    if missing:
        raise ConfigError(f"the certificate lacks {', '.join(missing)}, which stations dial (server.names)")
    _files(config).key_for(certificate)
    return certificate


def _files(config: Config) -> ServerFiles:
    return ServerFiles(config.server.certificate, config.server.key)


def _names(config: Config, files: ServerFiles, renamed: Renamed) -> tuple[str, ...]:
    try:
        before = operations_ca.names_in(files.read().certificate)
        # A certificate that was made elsewhere may have names that are not made here: they can be dropped.
        odd = [name for name in before if not is_server_name(name)]
        added = server_names(renamed.added)
        dropped = [name.lower() if name.lower() in odd else server_name(name) for name in renamed.dropped]
        if left := [name for name in odd if name not in dropped]:
            options = " ".join(f"--drop '{name}'" for name in left)
            raise ConfigError(
                f"the certificate has {', '.join(left)}, made elsewhere: no name that is certified here. Give"
                f" each name that stations dial by --name, and {options}"
            )
        kept = [name for name in (*config.server.names, *added, *before) if name not in dropped]
        wanted = server_names(kept)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if still := [name for name in config.server.names if name in dropped]:
        raise ConfigError(f"server.names in signerd.toml still has {', '.join(still)}: take it out first")
    if unknown := [name for name in dropped if name not in before]:
        raise ConfigError(f"the certificate has no name {', '.join(unknown)}; it has {', '.join(before)}")
    if not wanted:
        raise ConfigError("no name is left: no station could connect")
    return wanted


def server_ca(config: Config) -> x509.Certificate:
    """The operations CA that issued the server's certificate: peers hold it against that one. Raises
    ConfigError."""
    certificate = _files(config).read().certificate
    issuer = issuer_of(certificate, read_cas(config))
    if issuer is None:
        raise ConfigError(f"{config.server.certificate} was issued by none of {config.server.client_ca}")
    return issuer


def read_cas(config: Config) -> list[x509.Certificate]:
    """The operations CAs, the newest last. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificates(config.server.client_ca.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config.server.client_ca} cannot be read as a certificate in PEM") from error
