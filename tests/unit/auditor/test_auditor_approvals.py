"""The auditor's own reading of approvals, and that it agrees with signerd's about signatures and texts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.approval import read_statement
from auditor.core.ssh_signature import Touch, check_key, check_signature
from auditor.errors import Malformed
from harness.ssh_signing import VERIFIED, SshSigner, mpint, string
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.sshsig import read_signature
from signerd.core.approval.statement import Statement, parse_statement

VECTORS = Path(__file__).parents[2] / "vectors" / "sshsig"
MESSAGE, NAMESPACE = b"what is signed\n", "birthmark-approval-v1@acme"
SIGNERS: dict[str, Callable[[], SshSigner]] = {
    "ed25519": SshSigner.ed25519,
    "p256": SshSigner.ecdsa,
    "rsa": SshSigner.rsa,
    "sk ed25519": SshSigner.sk_ed25519,
    "sk p256": SshSigner.sk_ecdsa,
}
SIGNED = [(signer, signer.sign_raw(MESSAGE, NAMESPACE)) for signer in (make() for make in SIGNERS.values())]
TEXT = Statement(
    deployment="acme",
    log="acme.example/log+1c5d3c8b+AQ==",
    action="order_opened",
    request=bytes(16),
    expires=datetime(2026, 12, 6, tzinfo=UTC),
    entries=({"quantity": 500, "stations": ["a", "b"]},),
    inputs=(None,),
).text()


@pytest.mark.parametrize("name", ["ed25519", "ecdsa", "rsa", "ed25519_sk", "ecdsa_sk"])
def test_openssh_s_own_signatures_verify(name: str) -> None:
    lines = (VECTORS / f"{name}.sig").read_text("ascii").split()
    blob = base64.b64decode("".join(line for line in lines[3:-3]))
    key = " ".join((VECTORS / f"{name}.pub").read_text("ascii").split()[:2])
    message = (VECTORS / "signed-data").read_bytes()
    touch = check_signature(blob, key, message, "unittest")
    assert touch == (Touch(verified=False, counter=0x12345678) if name.endswith("_sk") else None)
    for other, namespace in ((message + b"!", "unittest"), (message, "file")):
        with pytest.raises(Malformed):
            check_signature(blob, key, other, namespace)


@pytest.mark.parametrize("make", SIGNERS.values(), ids=SIGNERS)
def test_each_kind_of_key_signs(make: Callable[[], SshSigner]) -> None:
    signer, other = make(), make()
    raw = signer.sign_raw(MESSAGE, NAMESPACE)
    check_signature(raw, signer.public_text, MESSAGE, NAMESPACE)
    with pytest.raises(Malformed, match="another key"):
        check_signature(raw, other.public_text, MESSAGE, NAMESPACE)
    forged = other.sign_raw(MESSAGE, NAMESPACE, public=signer.public)
    with pytest.raises(Malformed, match="does not verify"):
        check_signature(forged, signer.public_text, MESSAGE, NAMESPACE)


def test_an_untouched_security_key_does_not_count() -> None:
    stick = SshSigner.sk_ed25519()
    with pytest.raises(Malformed, match="nobody touched"):
        check_signature(
            stick.saying(flags=VERIFIED).sign_raw(MESSAGE, NAMESPACE), stick.public_text, MESSAGE, NAMESPACE
        )


@pytest.mark.parametrize(
    "blob",
    [
        string(b"ssh-dss") + mpint(5) * 4,
        string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32)),
        SshSigner.rsa(1024).public,
        SshSigner.ed25519().public[:-1],
        b"",
    ],
    ids=["dsa", "certificate", "rsa 1024", "cut", "nothing"],
)
def test_what_is_no_key_is_refused(blob: bytes) -> None:
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode() or "ssh-ed25519"
    with pytest.raises(Malformed):
        check_key(f"{kind} {base64.b64encode(blob).decode()}")


def by_signerd(signer: SshSigner, blob: bytes) -> bool:
    try:
        signature = read_signature(b"SSHSIG" + blob[6:])
        signature.verify(MESSAGE, NAMESPACE)
    except ApprovalError:
        return False
    return signature.key.blob == signer.public and blob.startswith(b"SSHSIG")


def by_auditor(signer: SshSigner, blob: bytes) -> bool:
    try:
        check_signature(blob, signer.public_text, MESSAGE, NAMESPACE)
    except Malformed:
        return False
    return True


@given(which=st.sampled_from(SIGNED), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_both_refuse_a_changed_bit(which: tuple[SshSigner, bytes], at: int, bit: int) -> None:
    signer, raw = which
    assert by_signerd(signer, raw)
    assert by_auditor(signer, raw)
    changed = bytearray(raw)
    changed[at % len(raw)] ^= 1 << bit
    assert not by_signerd(signer, bytes(changed))
    assert not by_auditor(signer, bytes(changed))


@given(st.sampled_from(SIGNED), st.integers(0, 2_000), st.binary(max_size=40))
def test_both_refuse_what_is_cut_and_prolonged(which: tuple[SshSigner, bytes], at: int, more: bytes) -> None:
    signer, raw = which
    changed = raw[: at % len(raw)] + more
    if changed != raw:
        assert not by_signerd(signer, changed)
        assert not by_auditor(signer, changed)


@given(at=st.integers(0, len(TEXT) - 1), byte=st.integers(0, 255))
def test_both_read_one_form_of_the_text(at: int, byte: int) -> None:
    """What the auditor takes is read by signerd, or is refused by it for what the auditor looks at later."""
    changed = TEXT[:at] + bytes([byte]) + TEXT[at + 1 :]
    try:
        mine = parse_statement(changed)
    except ApprovalError:
        return
    read = read_statement(changed.decode("ascii"))
    assert read.header["action"] == mine.action
    assert [dict(entry) for entry in read.entries] == [dict(entry) for entry in mine.entries]


def test_a_text_is_read() -> None:
    read = read_statement(TEXT.decode("ascii"))
    assert read.entries == ({"quantity": 500, "stations": ["a", "b"]},)
    for text in (
        "",
        "x\n",
        TEXT.decode().replace("form 1", "form 2"),
        TEXT.decode()[:-1],
        TEXT.decode() + "\n",
        TEXT.decode().replace("500", "[" * 17 + "]" * 17),
    ):
        with pytest.raises(Malformed):
            read_statement(text)
