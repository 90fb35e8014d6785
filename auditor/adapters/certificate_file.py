"""What a user names a certificate by: its file, its SHA-256, or the serial number of its board."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.tile_folder import read_bounded
from auditor.core.standing import Subject
from auditor.errors import ConfigError

_MAX_FILE = 262_144  # bytes; a chain of PEM certificates
_PEM = b"-----BEGIN CERTIFICATE-----"
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}|(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")  # the latter by openssl
_SERIAL_NUMBER = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SUFFIXES = frozenset({".pem", ".der", ".crt", ".cer", ".cert"})


def subject_of(asked: str) -> Subject:
    """A file if there is one of this name, else a digest, else a serial number.

    Raises:
        ConfigError: the file has no certificate, or this is none of the three.
    """
    path = Path(asked)
    if path.is_file():
        return Subject(asked, sha256(_certificate(path)).digest(), None)
    if path.name != asked or path.suffix.lower() in _SUFFIXES:
        raise ConfigError(f"there is no file {asked}: give a certificate, PEM or DER")
    serial_number = asked if _SERIAL_NUMBER.fullmatch(asked) is not None else None
    if _DIGEST.fullmatch(asked) is not None:
        return Subject(asked, bytes.fromhex(asked.replace(":", "")), serial_number)
    if serial_number is None:
        raise ConfigError(
            f"{asked[:100]!r} is no certificate's file, no SHA-256 and no serial number of a board"
            " (1 to 64 of [A-Za-z0-9._:-])"
        )
    return Subject(asked, None, serial_number)


def _certificate(path: Path) -> bytes:
    """The DER of the first certificate in the file: of a chain, the board's."""
    data = read_bounded(path, _MAX_FILE)
    if data is None or len(data) > _MAX_FILE:
        raise ConfigError(f"{path} is no certificate: it is gone, or larger than {_MAX_FILE} bytes")
    load = x509.load_pem_x509_certificate if _PEM in data else x509.load_der_x509_certificate
    try:
        return load(data).public_bytes(Encoding.DER)
    except ValueError as error:
        raise ConfigError(f"{path} is no certificate, neither PEM nor DER") from error
