"""Approvals and the genuine ssh-keygen: what it signs is taken, and what our tests sign it takes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.ssh_keygen import Keygen, run, verifies
from harness.ssh_signing import SshSigner
from signerd.core.approval.administrators import namespace_of, parse_administrators
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.sshsig import read_signature

MESSAGE, NAMESPACE = b"Birthmark approval, form 1\n", namespace_of("acme")
KINDS = {
    "ed25519": ("ed25519",),
    "p256": ("ecdsa", "-b", "256"),
    "p384": ("ecdsa", "-b", "384"),
    "p521": ("ecdsa", "-b", "521"),
    "rsa 2048": ("rsa", "-b", "2048"),
}


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "WO-1.approval"
    path.write_bytes(MESSAGE)
    return path


@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_ssh_keygen_signs_is_taken(
    kind: tuple[str, ...], hashed: str, message: Path, tmp_path: Path
) -> None:
    key = Keygen.make(tmp_path / "ann", *kind)
    (ann,) = parse_administrators(f"ann {key.private.with_suffix('.pub').read_text()}", "acme")
    signature = read_signature(key.sign(message, NAMESPACE, "-O", f"hashalg={hashed}").read_bytes())
    assert signature.key.blob == ann.key.blob
    assert run("-l", "-f", str(key.private)).stdout.decode().split()[1] == ann.key.fingerprint
    signature.verify(MESSAGE, NAMESPACE)
    with pytest.raises(ApprovalError, match="another text"):
        signature.verify(MESSAGE + b"\n", NAMESPACE)


def test_what_ssh_keygen_signs_with_a_certificate_is_refused(tmp_path: Path) -> None:
    authority, ann = Keygen.make(tmp_path / "ca"), Keygen.make(tmp_path / "ann")
    run("-q", "-s", str(authority.private), "-I", "ann", "-n", "ann", str(ann.private.with_suffix(".pub")))
    certificate = ann.private.with_name("key-cert.pub")
    with pytest.raises(ApprovalError, match="is a certificate"):
        parse_administrators(f"ann {certificate.read_text()}", "acme")
    signed = run("-Y", "sign", "-f", str(certificate), "-n", NAMESPACE, given=MESSAGE).stdout
    with pytest.raises(ApprovalError, match="is a certificate"):
        read_signature(signed)


SIGNERS: dict[str, Callable[[], SshSigner]] = {
    "ed25519": SshSigner.ed25519,
    "p256": SshSigner.ecdsa,
    "rsa": SshSigner.rsa,
    "sk ed25519": SshSigner.sk_ed25519,
    "sk p256": SshSigner.sk_ecdsa,
}


@pytest.mark.parametrize("make", SIGNERS.values(), ids=SIGNERS)
def test_ssh_keygen_takes_what_the_tests_own_keys_sign(make: Callable[[], SshSigner], tmp_path: Path) -> None:
    """A security key is not needed for it: so the tests' security key in software is OpenSSH's form."""
    Keygen.make(tmp_path / "skips-without-ssh-keygen")
    signer = make()
    allowed, signature = tmp_path / "allowed", tmp_path / "signature"
    allowed.write_text(f'ann namespaces="{NAMESPACE}" {signer.public_text}\n')
    signature.write_bytes(signer.sign(MESSAGE, NAMESPACE))
    assert verifies(allowed, "ann", NAMESPACE, MESSAGE, signature)
    assert not verifies(allowed, "ann", NAMESPACE, MESSAGE + b"\n", signature)
    (ann,) = parse_administrators(allowed.read_text(), "acme")
    assert read_signature(signature.read_bytes()).key == ann.key
