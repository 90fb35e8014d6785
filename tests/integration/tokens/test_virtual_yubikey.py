"""The YubiKey in software behind pcscd, as Yubico's tool, ykcs11 and OpenSC see it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from harness.process import ProgramError, run
from tokens import presence, yubikey
from tokens.piv_card import PivCard
from tokens.piv_keys import Status, StatusError
from tokens.yubikey import VirtualYubiKey

_MESSAGE = bytes(range(32))
_RSA_SLOT = "82"
# ykcs11 numbers its objects: 9a, 9c, 9d, 9e, then 82 to 95.
_IDS = {"9a": "01", "9c": "02", "9d": "03", _RSA_SLOT: "05"}
_ALGORITHMS = {"9a": "ECCP256", "9c": "ECCP384", "9d": "ECCP256", _RSA_SLOT: "RSA2048"}


@pytest.fixture(scope="module")
def made() -> Iterator[VirtualYubiKey]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=11)) as key:
        for slot, algorithm in _ALGORITHMS.items():
            key.generate(slot, algorithm)
        yield key


def _pkcs11_tool(key: VirtualYubiKey, *arguments: str | Path, pin: str | None = None) -> str:
    command = ["pkcs11-tool", "--module", key.module, "--token-label", key.label()]
    command += ["--login", "--pin", pin or key.pin, *map(str, arguments)]
    return run(command, environment={**os.environ, **key.environment}, timeout_s=60)


def _sign(key: VirtualYubiKey, slot: str, mechanism: str, folder: Path, message: bytes = _MESSAGE) -> bytes:
    (folder / "message").write_bytes(message)
    files = ("--input-file", folder / "message", "--output-file", folder / "signature")
    _pkcs11_tool(key, "--sign", "--id", _IDS[slot], "--mechanism", mechanism, *files)
    return (folder / "signature").read_bytes()


def _public(key: VirtualYubiKey, slot: str) -> object:
    return load_pem_public_key((key.directory / f"{slot}.pem").read_bytes())


def _demand_ecdsa(key: VirtualYubiKey, slot: str, signature: bytes) -> None:
    public = _public(key, slot)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    public.verify(encode_dss_signature(r, s), _MESSAGE, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.mark.parametrize("slot", ["9a", "9c"])
def test_signs_by_ykcs11(made: VirtualYubiKey, slot: str, tmp_path: Path) -> None:
    _demand_ecdsa(made, slot, _sign(made, slot, "ECDSA", tmp_path))


def test_signs_with_rsa(made: VirtualYubiKey, tmp_path: Path) -> None:
    signature = _sign(made, _RSA_SLOT, "SHA256-RSA-PKCS", tmp_path)
    public = _public(made, _RSA_SLOT)
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, _MESSAGE, padding.PKCS1v15(), hashes.SHA256())


def test_agrees_on_a_secret(made: VirtualYubiKey, tmp_path: Path) -> None:
    ours = ec.generate_private_key(ec.SECP256R1())
    spki = ours.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "peer.der").write_bytes(spki)
    files = ("--input-file", tmp_path / "peer.der", "--output-file", tmp_path / "secret")
    _pkcs11_tool(made, "--derive", "--id", _IDS["9d"], "--mechanism", "ECDH1-DERIVE", *files)
    theirs = _public(made, "9d")
    assert isinstance(theirs, ec.EllipticCurvePublicKey)
    assert (tmp_path / "secret").read_bytes() == ours.exchange(ec.ECDH(), theirs)


def test_attests_its_keys(made: VirtualYubiKey) -> None:
    attestation = load_pem_x509_certificate(made.tool("-a", "attest", "-s", "9a").encode())
    issuer = load_pem_x509_certificate(made.tool("-a", "read-certificate", "-s", "f9").encode())
    assert attestation.public_key() == _public(made, "9a")
    attestation.verify_directly_issued_by(issuer)


def test_a_card_pulled_is_gone_and_put_back_is_the_same(made: VirtualYubiKey, tmp_path: Path) -> None:
    made.pull()
    with pytest.raises(ProgramError):
        _sign(made, "9a", "ECDSA", tmp_path)
    made.put_in()
    _demand_ecdsa(made, "9a", _sign(made, "9a", "ECDSA", tmp_path))


def test_a_card_that_hangs_answers_when_it_may(made: VirtualYubiKey, tmp_path: Path) -> None:
    command = ["yubico-piv-tool", "--reader", "Yubico", "--action", "status"]
    made.hang()
    waiting = subprocess.Popen(
        command, env={**os.environ, **made.environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.3)
    made.answer()
    said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert b"11" in said
    _demand_ecdsa(made, "9a", _sign(made, "9a", "ECDSA", tmp_path))


def test_a_wrong_pin_takes_a_try_and_three_lock_the_card() -> None:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=12), PivCard(serial=13)) as keys:
        card, spare = keys.cards
        for left in (2, 1, 0):
            with pytest.raises(ProgramError):
                keys.tool("-a", "verify-pin", "-P", "000000")
            assert card.pin.left == left
        with pytest.raises(ProgramError):
            keys.tool("-a", "verify-pin", "-P", keys.pin)
        keys.tool("-a", "verify-pin", "-P", keys.pin, number=1)
        assert spare.pin.left == 3


def test_a_key_made_without_the_management_key_does_not_exist() -> None:
    card = PivCard()
    generate_9a = bytes.fromhex("0047009a05ac03800111")
    assert int.from_bytes(card.transmit(generate_9a), "big") == Status.SECURITY_NOT_SATISFIED
    sign = bytes.fromhex("0087119a067c0481025500")
    assert int.from_bytes(card.transmit(sign), "big") == Status.REFERENCE_NOT_FOUND


def test_an_error_of_choice_and_a_garbled_signature(made: VirtualYubiKey, tmp_path: Path) -> None:
    def fail() -> None:
        raise StatusError(0x6F00)

    (card,) = made.cards
    usual, card.before_private = card.before_private, fail
    try:
        with pytest.raises(ProgramError):
            _sign(made, "9a", "ECDSA", tmp_path)
    finally:
        card.before_private = usual
    card.garbled = True
    try:
        with pytest.raises(Exception, match=r"^$"):
            _demand_ecdsa(made, "9a", _sign(made, "9a", "ECDSA", tmp_path))
    finally:
        card.garbled = False


@pytest.mark.parametrize(
    "command", [b"", b"\x00", b"\x00\x87\x11\x9a", b"\x00\xcb\x3f\xff\x02\x5c\x7f", b"\x00\xff\x00\x00"]
)
def test_commands_of_any_look_get_a_status(command: bytes) -> None:
    answer = PivCard().transmit(command)
    assert len(answer) == 2
    assert answer != b"\x90\x00"
