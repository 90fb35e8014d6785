"""A file of private keys in PEM: it may hold several, and the one that counts is a certificate's.

So certificate and key change in one step, the rename of the certificate's file: the key is there before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from signerd.errors import ConfigError

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n?", re.DOTALL)


def split_keys(text: bytes) -> list[bytes]:
    """The keys of such a file, each in PEM of its own."""
    return [found[0] if found[0].endswith(b"\n") else found[0] + b"\n" for found in _KEY.finditer(text)]


def key_of(public: object, text: bytes, where: object) -> bytes | None:
    """The key with this public key, PEM; None where it is not there.

    Raises:
        ConfigError: the file `where` holds something else than private keys without a password.
    """
    keys = split_keys(text)
    try:
        found = next((pem for pem in keys if load_pem_private_key(pem, None).public_key() == public), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where} is not a private key in PEM without a password") from error
    if not keys:
        raise ConfigError(f"{where} is not a private key in PEM without a password")
    return found


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def joined(keys: Sequence[bytes]) -> bytes:
    """A file of these, each once."""
    return b"".join(dict.fromkeys(keys))
