"""The files of an operations CA's succession: a second one beside the first until all peers have moved.

`operations/ca.pem` (`server.client_ca`) has all that are trusted, the newest last; `operations/ca.key` has
the keys of those that are kept here. The last one certifies peers. The server's certificate stays with the CA
that it is of until `activate`, since peers trust that one.

Each step is announced in the ledger before it changes a file that counts. What a crash leaves:

    add       1 the new key beside the old ones            a key too many, that no certificate uses
              2 the new certificate in `ca.next.pem`       the next `add` goes on with it
              3 announced                                  as above: it is not announced a second time
              4 `ca.pem` with both                         it counts; `ca.next.pem` is one too many
              5 `ca.next.pem` removed
    activate  1 announced, 2 as `server renew`             given again, it goes on
    retire    1 announced                                  given again, it goes on
              2 `ca.pem` without it                        it counts no more; its key is one too many
              3 its key removed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters import installed_files, operations_ca, server_renewal
from signerd.adapters.one_at_a_time import alone
from signerd.adapters.pem_keys import joined, key_of, pem_of, split_keys
from signerd.config import Config
from signerd.errors import ConfigError
from signerd.ports import PeerRecord

MAX_CAS = 2  # at once: a third comes when the first has gone
Announce = Callable[[x509.Certificate], None]
"""Enters the step of this CA into the ledger, or raises."""


@dataclass(frozen=True, slots=True)
class OperationsFiles:
    """Of an installation whose settings are in the folder `base`."""

    config: Config
    base: Path

    @property
    def _certificates(self) -> Path:
        return self.config.server.client_ca

    @property
    def _keys(self) -> Path:
        return self.base / operations_ca.KEYS

    @property
    def _next(self) -> Path:
        return self._certificates.with_name("ca.next.pem")

    def trusted(self) -> list[x509.Certificate]:
        """The newest last. Raises ConfigError."""
        return server_renewal.read_cas(self.config)

    def of_server(self) -> x509.Certificate:
        """The one that the server's certificate is of. Raises ConfigError."""
        return server_renewal.server_ca(self.config)

    def has_key(self, certificate: x509.Certificate) -> bool:
        """Whether this CA's key is kept here. Raises ConfigError."""
        if not self._keys.exists():
            return False
        return key_of(certificate.public_key(), installed_files.read(self._keys), self._keys) is not None

    def add(self, given: x509.Certificate | None, announce: Announce, now: datetime) -> x509.Certificate:
        """A new CA beside the one that there is, made here, or `given` where its key is kept elsewhere.

        Raises:
            ConfigError: there are two already, `given` is no CA's of this kind, or a file cannot be written.
        """
        with alone(self.config.server.key, "renewal"):
            before = self.trusted()
            if len(before) >= MAX_CAS and not self._next.exists():
                raise ConfigError(
                    f"{self._certificates} has {len(before)} operations CAs: retire one first,"
                    " signerd operations-ca retire"
                )
            certificate = self._prepared(given, now)
            if certificate not in before:
                announce(certificate)
                installed_files.replace(self._certificates, _pem([*before, certificate]), 0o644)
            self._next.unlink(missing_ok=True)
            return certificate

    def _prepared(self, given: x509.Certificate | None, now: datetime) -> x509.Certificate:
        if self._next.exists():
            begun = _certificate(self._next)
            if given is not None and given != begun:
                raise ConfigError(f"another CA's addition was begun: finish it first, or remove {self._next}")
            return begun
        if given is not None:
            _check_given(given, now)
            installed_files.replace(self._next, _pem([given]), 0o644)
            return given
        if self._certificates != self.base / operations_ca.CERTIFICATES:
            raise ConfigError(
                f"server.client_ca is not {self.base / operations_ca.CERTIFICATES}: make the CA where its key"
                " is to be kept, and give its certificate: signerd operations-ca add --certificate"
            )
        made = operations_ca.create_ca(self.config.deployment, now, successor=True)
        kept = split_keys(installed_files.read(self._keys)) if self._keys.exists() else []
        installed_files.replace(self._keys, joined([*kept, pem_of(made.key)]), 0o600)
        installed_files.replace(self._next, _pem([made.certificate]), 0o644)
        return made.certificate

    def activate(self, certificate: bytes | None, announce: Announce, now: datetime) -> x509.Certificate:
        """The server's certificate from the newest CA: made here, or `certificate`, PEM, where that CA's key
        is kept elsewhere. Returns it.

        Raises:
            ConfigError: there is no second CA, its key is not here, or a file cannot be written.
        """
        newest = self.trusted()[-1]
        if self.of_server() == newest:
            raise ConfigError(
                "the server's certificate is of the newest operations CA already: signerd operations-ca list"
            )
        if certificate is None and not self.has_key(newest):
            raise ConfigError(
                "the newest operations CA's key is not here: have it sign what `signerd server renew"
                " --request FILE` writes, and give that: signerd operations-ca activate --certificate"
            )
        if certificate is None:
            announce(newest)
            return server_renewal.renew(self.config, self.base, server_renewal.Renamed(), now, under=newest)
        server_renewal.check_answer(self.config, certificate, now, newest)
        announce(newest)
        return server_renewal.install(self.config, certificate, now, under=newest)

    def retire(self, announce: Announce, *, newest: bool) -> x509.Certificate:
        """Takes the older CA away, or the `newest`, which was added in error.

        Raises:
            ConfigError: there is one alone, the server's certificate is of it, or a file cannot be written.
        """
        with alone(self.config.server.key, "renewal"):
            trusted = self.trusted()
            if len(trusted) < MAX_CAS:
                raise ConfigError("there is one operations CA alone: add another one first")
            gone = trusted[-1] if newest else trusted[0]
            if self.of_server() == gone:
                raise ConfigError(
                    "the server's certificate is of this operations CA: signerd operations-ca activate first"
                )
            announce(gone)
            installed_files.replace(self._certificates, _pem(ca for ca in trusted if ca != gone), 0o644)
            self._forget_keys()
            return gone

    def _forget_keys(self) -> None:
        """Keeps the keys of CAs that are trusted alone."""
        if not self._keys.exists():
            return
        text = installed_files.read(self._keys)
        kept = [key_of(ca.public_key(), text, self._keys) for ca in self.trusted()]
        installed_files.replace(self._keys, joined([pem for pem in kept if pem is not None]), 0o600)


def peers_by_ca(peers: Iterable[PeerRecord], now: datetime) -> dict[bytes | None, list[str]]:
    """URIs by the operations CA (SHA-256) that each called with last, None where that is not known. Of a peer
    its newest key counts; those whose certificate has ended are left out: they are cut off already."""
    newest = {peer.name.uri: peer for peer in peers}  # later registrations come later
    found: dict[bytes | None, list[str]] = {}
    for uri, peer in sorted(newest.items()):
        if peer.revoked_at is None and (peer.not_after is None or peer.not_after > now):
            found.setdefault(peer.ca_sha256, []).append(uri)
    return found


def _check_given(certificate: x509.Certificate, now: datetime) -> None:
    try:
        certificate.verify_directly_issued_by(certificate)
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception as error:  # any way in which a given file is no such certificate
        raise ConfigError("the certificate is no self-signed CA's") from error
    if not is_ca:
        raise ConfigError("the certificate is no self-signed CA's")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigError("the CA's certificate is not valid now")


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(installed_files.read(path))
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error
