"""SSH signatures: genuine ones, each kind of key, and everything else that might be handed in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from harness.ssh_signing import PRESENT, VERIFIED, SshSigner, armor, mpint, string
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.ssh_keys import Touch, parse_key, parse_key_text
from signerd.core.approval.sshsig import MAX_ARMORED, read_signature

VECTORS = Path(__file__).parents[4] / "vectors" / "sshsig"
MESSAGE, NAMESPACE = b"what is signed\n", "birthmark-approval-v1@acme"
SIGNERS: dict[str, Callable[[], SshSigner]] = {
    "ed25519": SshSigner.ed25519,
    "p256": SshSigner.ecdsa,
    "p384": lambda: SshSigner.ecdsa(ec.SECP384R1()),
    "p521": lambda: SshSigner.ecdsa(ec.SECP521R1()),
    "rsa sha512": SshSigner.rsa,
    "rsa sha256": lambda: SshSigner.rsa(algorithm=hashes.SHA256()),
    "sk ed25519": SshSigner.sk_ed25519,
    "sk p256": SshSigner.sk_ecdsa,
}
ED25519, SK = SshSigner.ed25519(), SshSigner.sk_ed25519()


def vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


GENUINE = ["ed25519", "ecdsa", "rsa", "ed25519_sk", "ecdsa_sk"]


@pytest.mark.parametrize("name", GENUINE)
def test_openssh_s_own_signatures_verify(name: str) -> None:
    signature = read_signature(vector(f"{name}.sig"))
    touch = signature.verify(vector("signed-data"), vector("namespace").decode())
    algorithm, encoded, *_ = vector(f"{name}.pub").decode().split()
    assert signature.key == parse_key_text(algorithm, encoded)
    assert touch == (Touch(verified=False, counter=0x12345678) if name.endswith("_sk") else None)


@pytest.mark.parametrize("name", GENUINE)
def test_openssh_s_own_signatures_are_of_one_text_and_one_namespace(name: str) -> None:
    signature = read_signature(vector(f"{name}.sig"))
    with pytest.raises(ApprovalError, match="another text"):
        signature.verify(vector("signed-data") + b"!", "unittest")
    with pytest.raises(ApprovalError, match="namespace"):
        signature.verify(vector("signed-data"), "file")


def test_a_signature_made_in_a_browser_does_not_count() -> None:
    with pytest.raises(ApprovalError, match="ssh-keygen makes one for 'ssh:'"):
        read_signature(vector("ecdsa_sk_webauthn.sig"))


def test_a_kind_of_key_that_is_not_known_is_named() -> None:
    algorithm, encoded, *_ = vector("mldsa44-ed25519.pub").decode().split()
    with pytest.raises(ApprovalError, match=r"more than 1024|do not count"):
        parse_key_text(algorithm, encoded)


@pytest.mark.parametrize("make", SIGNERS.values(), ids=SIGNERS)
def test_each_kind_of_key_signs(make: Callable[[], SshSigner]) -> None:
    signer = make()
    raw = signer.sign_raw(MESSAGE, NAMESPACE, hash_algorithm="sha256")
    for data in (signer.sign(MESSAGE, NAMESPACE), raw):
        signature = read_signature(data)
        touch = signature.verify(MESSAGE, NAMESPACE)
        assert signature.key.text == signer.public_text
        assert touch == (Touch(verified=True, counter=7) if signer.application else None)


@pytest.mark.parametrize("make", SIGNERS.values(), ids=SIGNERS)
def test_each_kind_refuses_what_another_key_of_it_signed(make: Callable[[], SshSigner]) -> None:
    ours, theirs = make(), make()
    forged = theirs.sign_raw(MESSAGE, NAMESPACE, public=ours.public)
    with pytest.raises(ApprovalError, match="does not verify"):
        read_signature(forged).verify(MESSAGE, NAMESPACE)


def test_a_security_key_that_was_not_touched_does_not_count() -> None:
    untouched = read_signature(SK.saying(flags=VERIFIED).sign(MESSAGE, NAMESPACE))
    with pytest.raises(ApprovalError, match="without being touched"):
        untouched.verify(MESSAGE, NAMESPACE)


def test_what_a_security_key_says_is_signed() -> None:
    raw = SK.saying(flags=PRESENT).sign_raw(MESSAGE, NAMESPACE)
    assert raw[-5] == PRESENT
    changed = raw[:-5] + bytes([PRESENT | VERIFIED]) + raw[-4:]
    with pytest.raises(ApprovalError, match="does not verify"):
        read_signature(changed).verify(MESSAGE, NAMESPACE)


def test_rsa_never_signs_with_sha1() -> None:
    old = read_signature(SshSigner.rsa(algorithm=hashes.SHA1()).sign(MESSAGE, NAMESPACE))
    with pytest.raises(ApprovalError, match="rsa-sha2-256 or rsa-sha2-512, not 'ssh-rsa'"):
        old.verify(MESSAGE, NAMESPACE)


def test_a_short_rsa_key_does_not_count() -> None:
    with pytest.raises(ApprovalError, match="1024 bits"):
        parse_key(SshSigner.rsa(1024).public)


def test_a_certificate_is_refused_with_its_name() -> None:
    name = b"ssh-ed25519-cert-v01@openssh.com"
    with pytest.raises(ApprovalError, match=r"ssh-ed25519-cert-v01@openssh\.com is a certificate"):
        parse_key(string(name) + string(bytes(32)) + string(bytes(32)))


KEYS = {
    "dsa": string(b"ssh-dss") + mpint(5) * 4,
    "an empty name": string(b""),
    "nothing": b"",
    "cut": ED25519.public[:-1],
    "a byte too many": ED25519.public + b"\0",
    "ed25519 of 31 bytes": string(b"ssh-ed25519") + string(bytes(31)),
    "no point of the curve": b"".join(map(string, (b"ecdsa-sha2-nistp256", b"nistp256", b"\4" + bytes(64)))),
    "another curve's name": b"".join(map(string, (b"ecdsa-sha2-nistp256", b"nistp384", b"\4" + bytes(96)))),
    "an even modulus": string(b"ssh-rsa") + mpint(65537) + mpint(1 << 2047),
    "a negative modulus": string(b"ssh-rsa") + mpint(65537) + string(b"\xff" * 256),
    "exponent 1": string(b"ssh-rsa") + mpint(1) + mpint((1 << 2047) + 1),
    "too long": string(b"ssh-ed25519") + string(bytes(2000)),
    "a length beyond all": b"\xff\xff\xff\xff" + b"ssh-ed25519",
    "a name in latin-1": string("ssh-édwards".encode("latin-1")) + string(bytes(32)),
    "a browser's application": SshSigner.sk_ed25519("https://example.com").public,
}


@pytest.mark.parametrize("blob", KEYS.values(), ids=KEYS)
def test_what_is_no_key_is_refused(blob: bytes) -> None:
    with pytest.raises(ApprovalError):
        parse_key(blob)


RAW = ED25519.sign_raw(MESSAGE, NAMESPACE)
SIGNATURES = {
    "empty": b"",
    "no armor": base64.b64encode(RAW),
    "half an armor": armor(RAW).rsplit(b"-----END")[0],
    "not base64": b"-----BEGIN SSH SIGNATURE-----\n!!!!\n-----END SSH SIGNATURE-----\n",
    "huge": b"-----BEGIN SSH SIGNATURE-----\n" + b"A" * MAX_ARMORED + b"\n-----END SSH SIGNATURE-----\n",
    "huge without armor": RAW + bytes(MAX_ARMORED),
    "utf-16": armor(RAW).decode().encode("utf-16"),
    "a public key": ED25519.public_text.encode(),
    "cut": RAW[:-1],
    "a byte too many": RAW + b"\0",
    "version 2": ED25519.sign_raw(MESSAGE, NAMESPACE, version=2),
    "something reserved": ED25519.sign_raw(MESSAGE, NAMESPACE, reserved=b"x"),
    "hashed with sha1": ED25519.sign_raw(MESSAGE, NAMESPACE, hash_algorithm="sha1"),
    "hashed with sha384": ED25519.sign_raw(MESSAGE, NAMESPACE, hash_algorithm="sha384"),
    "a namespace of control characters": ED25519.sign_raw(MESSAGE, "a\x1b[2J"),
    "a certificate's key": ED25519.sign_raw(
        MESSAGE, NAMESPACE, public=string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32))
    ),
}


@pytest.mark.parametrize("data", SIGNATURES.values(), ids=SIGNATURES)
def test_what_is_no_signature_is_refused(data: bytes) -> None:
    with pytest.raises(ApprovalError):
        read_signature(data)


def counts(data: bytes) -> bool:
    try:
        signature = read_signature(data)
        signature.verify(MESSAGE, NAMESPACE)
    except ApprovalError:
        return False
    return signature.key.blob == ED25519.public  # another key is no administrator's


def test_a_signature_counts_as_it_is() -> None:
    assert counts(RAW)


@given(at=st.integers(0, len(RAW) - 1), bit=st.integers(0, 7))
def test_no_bit_of_a_signature_can_be_changed(at: int, bit: int) -> None:
    changed = bytearray(RAW)
    changed[at] ^= 1 << bit
    assert not counts(bytes(changed))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused(data: bytes) -> None:
    with pytest.raises(ApprovalError):
        read_signature(b"SSHSIG" + data)
    with pytest.raises(ApprovalError):
        parse_key(string(b"ssh-rsa") + data)


def test_a_signature_keeps_its_frame_through_a_windows_editor() -> None:
    through = b"\r\n" + ED25519.sign(MESSAGE, NAMESPACE).replace(b"\n", b"\r\n")
    read_signature(through).verify(MESSAGE, NAMESPACE)
