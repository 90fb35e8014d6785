"""The program that compares RSA keys: `python -P -m signerd.adapters.shared_primes_process`.

It reads certificates on standard input, each as four octets of length, big-endian, and its DER; at the end of
input it writes one line of JSON and ends:

    {"keys": 100000, "shared": ["SHA-256 of a certificate, hexadecimal", …], "denied": []}

It runs at the lowest priority and within `MAX_MEMORY`, so that a search never costs signerd its turn or its
memory, and it holds nothing that is secret: no PIN, no key, no descriptor but its three.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from signerd.adapters.stepping_back import step_back
from signerd.core.shared_primes import shared_primes

LENGTH = struct.Struct(">I")
MAX_CERTIFICATE = 65_535  # bytes; signerd's own are below 17,000
MAX_MEMORY = 4 * 1024**3  # bytes of address space; docs/operations.md says how many keys that holds
_LOWEST = 19  # nice(2)


def read_keys(source: BinaryIO) -> dict[int, list[bytes]]:
    """Modulus -> SHA-256 of its certificates, of those whose key is RSA.

    Raises:
        EOFError: the input ends inside a certificate.
        ValueError: a length out of bounds, or bytes that are no certificate.
    """
    keys: dict[int, list[bytes]] = {}
    while header := source.read(LENGTH.size):
        if len(header) != LENGTH.size:
            raise EOFError("the input ends inside a length")
        (length,) = LENGTH.unpack(header)
        if length > MAX_CERTIFICATE:
            raise ValueError(f"a certificate of {length} bytes")
        data = source.read(length)
        if len(data) != length:
            raise EOFError("the input ends inside a certificate")
        key = x509.load_der_x509_certificate(data).public_key()
        if isinstance(key, rsa.RSAPublicKey):
            keys.setdefault(key.public_numbers().n, []).append(hashlib.sha256(data).digest())
    return keys


def main() -> int:
    """Reads, compares, reports. Whatever goes wrong ends it with a traceback on standard error."""
    denied = step_back(nice=_LOWEST, memory=MAX_MEMORY)
    keys = read_keys(sys.stdin.buffer)
    shared = [digest for modulus in shared_primes(keys) for digest in keys[modulus]]
    report = {"keys": len(keys), "shared": sorted(digest.hex() for digest in shared), "denied": denied}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
