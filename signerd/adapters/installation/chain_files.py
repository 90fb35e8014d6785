"""The files that come back from whoever signs the sub-CA: read in any usual form, and put in order.

A vendor sends the certificate with its chain: PEM or PKCS #7, the sub-CA first or last, the root in it or
not, cross-signed certificates beside it. `arrange` finds the way from the token's key to the pinned root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from signerd.core.issuing_chain import MAX_CHAIN, chain_problems, is_issued_by, shown
from signerd.errors import ConfigError

MAX_FILE_BYTES = 1 << 20
_MAX_CERTIFICATES = 64  # of all files; a vendor's bundle has up to a dozen
_READERS = {
    b"-----BEGIN PKCS7-----": pkcs7.load_pem_pkcs7_certificates,
    b"-----BEGIN ": x509.load_pem_x509_certificates,
}


@dataclass(frozen=True, slots=True)
class Arranged:
    """The sub-CA and what stands above it, without the root; and what no way leads over."""

    chain: tuple[x509.Certificate, ...]
    left_out: tuple[x509.Certificate, ...]


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates of a file: PEM with text between or not, PKCS #7 in PEM or DER, or one in DER.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes: it is no chain of certificates")
    try:
        found = _certificates(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a certificate in PEM, DER or PKCS #7") from error
    if not found:
        raise ConfigError(f"{path} holds no certificate")
    return found


def _certificates(data: bytes) -> list[x509.Certificate]:
    for mark, read in _READERS.items():
        if mark in data:
            return read(data)
    try:
        return [x509.load_der_x509_certificate(data)]
    except ValueError:
        return pkcs7.load_der_pkcs7_certificates(data)


def arrange(
    certificates: Iterable[x509.Certificate],
    key: x509.Certificate | x509.CertificateSigningRequest,
    root: x509.Certificate,
) -> Arranged:
    """The way from the token's key to the root: the shortest that relying parties follow.

    `key`: the request for it, or a certificate of it.

    Raises:
        ConfigError: there is none; the text says where it breaks off.
    """
    pool = list(dict.fromkeys(each for each in certificates if each != root))
    if len(pool) > _MAX_CERTIFICATES:
        raise ConfigError(f"{len(pool)} certificates: give the sub-CA's and those above it alone")
    starts = [each for each in pool if each.public_key() == key.public_key()]
    if not starts and root.public_key() == key.public_key():
        raise unusable(["it is given as --root: that is the certificate above it, which verifiers pin"])
    if not starts:
        raise unusable(["its key is not the one in the token"])
    ways = sorted((way for start in starts for way in _ways([start], pool, root)), key=len)
    if not ways:
        raise unusable(_breaks(starts[0], pool, root))
    chain = next((way for way in ways if not chain_problems(way, root)), ways[0])
    return Arranged(tuple(chain), tuple(each for each in pool if each not in chain))


def unusable(problems: Sequence[str]) -> ConfigError:
    """All that is wrong, a line each."""
    return ConfigError(
        "the sub-CA's certificate is not usable:\n" + "\n".join(f"  {line}" for line in problems)
    )


def _ways(
    way: list[x509.Certificate], pool: Sequence[x509.Certificate], root: x509.Certificate
) -> Iterator[list[x509.Certificate]]:
    if is_issued_by(way[-1], root):
        yield way
        return
    if len(way) == MAX_CHAIN:
        return
    for above in pool:
        if above not in way and is_issued_by(way[-1], above):
            yield from _ways([*way, above], pool, root)


def _breaks(start: x509.Certificate, pool: Sequence[x509.Certificate], root: x509.Certificate) -> list[str]:
    way = [start]
    while True:
        above = next((each for each in pool if each not in way and is_issued_by(way[-1], each)), None)
        if above is None:
            break
        way.append(above)
    if len(way) > MAX_CHAIN:
        return [f"there are {len(way)} certificates below the root {shown(root)}: at most {MAX_CHAIN}"]
    last = way[-1]
    return [
        f"{shown(last)} is not issued by this root, {shown(root)} (name, signature or key identifier)",
        f"its issuer is {last.issuer.rfc4514_string()}: give its certificate too (--chain), or as --root",
    ]
