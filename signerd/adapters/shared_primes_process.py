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
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from signerd.adapters.keyholder.hardening import die_with_parent
from signerd.core.shared_primes import shared_primes

LENGTH = struct.Struct(">I")
MAX_CERTIFICATE = 65_535  # bytes; signerd's own are below 17,000
MAX_MEMORY = 4 * 1024**3  # bytes of address space; docs/operations.md says how many keys that holds
_LOWEST = 19  # nice(2)
_FIRST_TO_GO = "1000"  # proc(5), oom_score_adj: when memory runs out, this process and not signerd


def step_back() -> list[str]:
    """Lowest priority, bounded memory, no core file; ends with its parent and by nobody's signal else.

    Returns what the service manager denied: a search at the usual priority is better than none.
    """
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    denied: list[str] = []
    try:
        os.nice(_LOWEST)
    except OSError as error:
        denied.append(f"nice: {error.strerror}")
    try:
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    except OSError as error:
        denied.append(f"oom_score_adj: {error.strerror}")
    # A service's stop reaches the whole group; signerd ends this process itself, and logs no fault then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return denied


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
    denied = step_back()
    keys = read_keys(sys.stdin.buffer)
    shared = [digest for modulus in shared_primes(keys) for digest in keys[modulus]]
    report = {"keys": len(keys), "shared": sorted(digest.hex() for digest in shared), "denied": denied}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
