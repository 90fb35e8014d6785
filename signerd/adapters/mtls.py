"""Who calls: the TLS side of signerd's listener, and the name in a caller's certificate.

What this guarantees: a connection without a certificate of the operations CA never reaches a call; the
name of a caller is the one URI SAN of this deployment in the very certificate that TLS checked, valid at
this moment. It does not say that the caller may do anything: the registry is asked at each call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.adapters.operations_ca import digest, issuer_of
from signerd.adapters.server_files import ServerFiles
from signerd.adapters.start_faults import from_system
from signerd.config import ServerSettings
from signerd.core.names import PeerName, parse_peer_uri
from signerd.core.toml_text import TomlError, without_mark
from signerd.errors import ConfigError

# All that the cryptography package raises for a certificate that TLS let pass and that cannot be read.
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
CACHED_CERTIFICATES = 1024  # certificates whose parse is kept; the oldest unused one leaves first
SCHEME = "birthmark://"


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a caller's certificate says. `name` is None where it names no peer of this deployment."""

    name: PeerName | None
    spki_sha256: bytes
    not_before: datetime
    not_after: datetime
    spki: bytes = b""  # SubjectPublicKeyInfo, DER
    ca_sha256: bytes | None = None  # the operations CA that issued the certificate, of those that are trusted

    def valid_at(self, now: datetime) -> bool:
        """True inside the certificate's validity (RFC 5280 §4.1.2.5), both ends included."""
        return self.not_before <= now <= self.not_after


class TrustedCas:
    """The operations CAs that peers' certificates come from."""

    def __init__(self, pem: bytes) -> None:
        """Raises ValueError: not certificates in PEM."""
        self.certificates = x509.load_pem_x509_certificates(pem)

    def replace(self, pem: bytes) -> None:
        """Others, from now on. Raises as `__init__`."""
        self.certificates = x509.load_pem_x509_certificates(pem)

    def sha256_of_issuer(self, certificate: x509.Certificate) -> bytes | None:
        """Which of them issued it."""
        issuer = issuer_of(certificate, self.certificates)
        return None if issuer is None else digest(issuer)


def identity_of(
    certificate: x509.Certificate, deployment: str, cas: TrustedCas | None = None
) -> PeerIdentity:
    """Reads the name and the key of a peer certificate, and which of the CAs issued it.

    Raises:
        One of `UNREADABLE`: the certificate's key or extensions cannot be read.
    """
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PeerIdentity(
        name=_peer_name(certificate, deployment),
        spki_sha256=sha256(spki).digest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        spki=spki,
        ca_sha256=None if cas is None else cas.sha256_of_issuer(certificate),
    )


def _peer_name(certificate: x509.Certificate, deployment: str) -> PeerName | None:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = [uri for uri in san.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(SCHEME)]
    if len(uris) != 1:
        return None
    try:
        name = parse_peer_uri(uris[0])
    except ValueError:
        return None
    return name if name.deployment == deployment else None


class PeerIdentities:
    """PeerIdentities by certificate, each parsed once while it stays in a bounded cache."""

    def __init__(
        self, deployment: str, cas: TrustedCas | None = None, *, capacity: int = CACHED_CERTIFICATES
    ) -> None:
        self._deployment = deployment
        self._cas = cas
        self._capacity = capacity
        self._known: OrderedDict[bytes, PeerIdentity | None] = OrderedDict()

    def forget(self) -> None:
        """Other CAs are trusted: each certificate is looked at anew."""
        self._known.clear()

    def of(self, auth_context: Mapping[str, Sequence[bytes]]) -> PeerIdentity | None:
        """The caller's identity from gRPC's authentication context, or None where there is none to read."""
        pems = auth_context.get("x509_pem_cert") or ()
        if len(pems) != 1:
            return None
        pem = pems[0]
        if pem in self._known:
            self._known.move_to_end(pem)
            return self._known[pem]
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            identity: PeerIdentity | None = identity_of(certificate, self._deployment, self._cas)
        except UNREADABLE:
            identity = None
        self._known[pem] = identity
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return identity


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """TLS for the listener: our certificate, and callers with a certificate of `client_ca` alone."""

    key: bytes = field(repr=False)  # PEM, as the others
    chain: bytes
    client_ca: bytes

    @classmethod
    def read(cls, server: ServerSettings) -> ServerCertificate:
        """Raises ConfigError: a file cannot be read, or the key is not the certificate's."""
        pair = ServerFiles(server.certificate, server.key).read()
        try:
            client_ca = without_mark(server.client_ca.read_bytes())
        except OSError as error:
            raise from_system(f"cannot read {error.filename}: {error.strerror}", error) from error
        except TomlError as error:
            raise ConfigError(f"{server.client_ca}: {error.what}. {error.mend}") from error
        return cls(pair.key, pair.chain, client_ca)

    def credentials(self) -> grpc.ServerCredentials:
        """For one listener. They never change: gRPC would ask for changes at each connection, by a call into
        Python that holds up whatever else runs there; and anybody on the network can connect."""
        return grpc.ssl_server_credentials(
            [(self.key, self.chain)], root_certificates=self.client_ca, require_client_auth=True
        )
