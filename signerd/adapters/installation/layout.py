"""Where things are in an installation, and how they are written: once, durably, with their mode."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signerd.adapters import durable_files
from signerd.config import MAX_SOCKET_PATH
from signerd.errors import ConfigError

PRIVATE = 0o600
PUBLIC = 0o644
PIN = 0o400
_DIRECTORY = 0o700


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under an installation's directory."""

    directory: Path

    @property
    def config(self) -> Path:
        """signerd's configuration."""
        return self.directory / "signerd.toml"

    @property
    def pin(self) -> Path:
        """The token's PIN; development only."""
        return self.directory / "hsm.pin"

    @property
    def softhsm(self) -> Path:
        """SoftHSM's tokens and configuration; development only."""
        return self.directory / "softhsm"

    @property
    def offline_root(self) -> Path:
        """The root's certificate and key; development only, elsewhere the key is offline."""
        return self.directory / "root"

    @property
    def ca(self) -> Path:
        """The device tree's certificates."""
        return self.directory / "ca"

    @property
    def request(self) -> Path:
        """The sub-CA's certification request, for the offline root."""
        return self.ca / "sub-ca.csr.pem"

    @property
    def sub_ca(self) -> Path:
        """The sub-CA's certificate, and those above it without the root."""
        return self.ca / "sub-ca.pem"

    @property
    def operations(self) -> Path:
        """The operations CA and signerd's server certificate."""
        return self.directory / "operations"

    @property
    def vkey(self) -> Path:
        """The log's verifier key."""
        return self.directory / "log.vkey"

    @property
    def sealed(self) -> Path:
        """The secrets that are sealed to the token, where it cannot hold them."""
        return self.directory / "sealed.json"

    @property
    def socket(self) -> Path:
        """The administrators' socket."""
        return self.directory / "admin" / "admin.sock"

    @property
    def head(self) -> Path:
        """The second place of the last checkpoint."""
        return self.directory / "head" / "checkpoint"


def make_installation_directory(directory: Path) -> Layout:
    """Makes the directory and its subdirectories, mode 0700.

    Raises:
        ConfigError: it is not empty, its path is too long, or it cannot be made.
    """
    layout = Layout(directory.resolve())
    more = len(os.fsencode(layout.socket)) - MAX_SOCKET_PATH
    if more > 0:
        raise ConfigError(
            f"{layout.directory} is too long by {more} bytes for the administrators' socket in it, whose "
            f"path has at most {MAX_SOCKET_PATH} (unix(7)): give a shorter one"
        )
    try:
        layout.directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
        if any(layout.directory.iterdir()):
            raise ConfigError(
                f"{directory} is not empty: give a new directory, `signerd init` overwrites nothing"
            )
        layout.directory.chmod(_DIRECTORY)
        for subdirectory in ("ca", "operations", "head", "admin"):
            make_directory(layout.directory / subdirectory)
    except OSError as error:
        raise ConfigError(f"cannot make {error.filename}: {error.strerror}") from error
    return layout


def make_directory(path: Path) -> None:
    """A new directory, mode 0700. Raises OSError."""
    path.mkdir(mode=_DIRECTORY)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A new file that is on the disk when this returns, name and all.

    Raises:
        ConfigError: it exists, or cannot be written.
    """
    try:
        durable_files.write_new(path, data, mode)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """A certificate as PEM, readable by all."""
    write_new(path, certificate.public_bytes(Encoding.PEM), PUBLIC)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """A private key as PKCS#8 PEM, mode 0600."""
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PRIVATE)
