"""What `signerd ca request` leads to outside of signerd: a root that signs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from harness.installation import Installation
from signerd.adapters import device_ca


def signed(request: Path, root: Path, root_key: Path, out: Path) -> Path:
    """What an offline root does."""
    key = load_pem_private_key(root_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    csr = x509.load_pem_x509_csr(request.read_bytes())
    now = datetime.now(UTC).replace(microsecond=0)
    made = device_ca.sign_sub_ca(csr, x509.load_pem_x509_certificate(root.read_bytes()), key, now)
    out.write_bytes(made.public_bytes(Encoding.PEM))
    return out


def signed_by_own_root(installation: Installation, request: Path, out: Path) -> Path:
    """By the root of a development installation."""
    folder = installation.home / "root"
    return signed(request, folder / "root.pem", folder / "root.key", out)
