"""The server's certificate and its key: two files that are read as a pair and replaced as one.

The key's file may hold several keys in PEM; the one that counts is the certificate's. So a renewal takes
effect in one step, the rename of the certificate's file, and there is no moment at which the two do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from signerd.adapters import installed_files
from signerd.adapters.one_at_a_time import alone
from signerd.adapters.pem_keys import joined, key_of, pem_of, split_keys
from signerd.core.toml_text import without_mark
from signerd.errors import ConfigError

_MOST_KEYS = 8  # of requests that were made and not answered; the oldest leave first
_KEY_MODE, _CERTIFICATE_MODE = 0o600, 0o644


@dataclass(frozen=True, slots=True)
class ServerPair:
    """The files' contents, PEM: the chain, and its key alone."""

    chain: bytes
    key: bytes = field(repr=False)
    certificate: x509.Certificate = field(compare=False)


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Where they are."""

    certificate: Path
    key: Path

    def read(self) -> ServerPair:
        """Raises ConfigError: a file cannot be read or is not of its form, or no key is the certificate's."""
        chain = installed_files.read(self.certificate)
        try:
            chain = without_mark(chain)  # gRPC takes none before a PEM
            certificate = x509.load_pem_x509_certificates(chain)[0]
        except ValueError as error:
            raise ConfigError(f"{self.certificate} is not a certificate in PEM") from error
        return ServerPair(chain, self._key_of(certificate.public_key()), certificate)

    def key_for(self, certificate: x509.Certificate) -> bytes:
        """The key of a certificate that is to come. Raises ConfigError: it is not among those of the file."""
        return self._key_of(certificate.public_key())

    def keep(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Puts a new key beside those that are there: the certificate goes on with its own.

        A crash leaves the old file or the new one, and a certificate that fits both.

        Raises:
            ConfigError: the file is not ours, or cannot be written.
        """
        pair = self.read()
        others = [each for each in split_keys(installed_files.read(self.key)) if each != pair.key][
            : _MOST_KEYS - 2
        ]
        installed_files.replace(self.key, joined((pair.key, pem_of(key), *others)), _KEY_MODE)

    def take(self, chain: bytes, certificate: x509.Certificate) -> None:
        """The certificate, whose key was kept before, in place of the old one.

        A crash before the certificate's rename leaves the old pair, with a key too many; one after it the new
        pair, with the old key beside it. The next renewal takes both away.

        Raises:
            ConfigError: its key is not there, or a file cannot be written.
        """
        key = self.key_for(certificate)
        installed_files.replace(self.certificate, chain, _CERTIFICATE_MODE)  # from here on it is the new one
        installed_files.replace(self.key, key, _KEY_MODE)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One renewal at a time: of two at once, each would take the other's key away.

        Raises:
            NotNow: another is under way.
            ConfigError: the files are another user's.
        """
        with alone(self.key, "renewal"):
            yield

    def _key_of(self, public: object) -> bytes:
        found = key_of(public, installed_files.read(self.key), self.key)
        if found is None:
            raise ConfigError(f"{self.key} is not the key of {self.certificate}")
        return found
