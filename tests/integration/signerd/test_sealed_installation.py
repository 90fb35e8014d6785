"""`signerd init` with a token that signs with ECDSA and does ECDH, and no more."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.key_holders import TokenAtHand
from harness.process import run
from signerd.adapters import device_ca
from signerd.adapters.installation import Wishes, create, install_certificate, softhsm
from signerd.adapters.installation.keys import ask_offers
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import rejected_pins
from signerd.config import load
from signerd.core.names import Place
from signerd.core.recipient import Recipient
from signerd.errors import ConfigError, Unavailable

pytestmark = pytest.mark.check

_FEW = "slots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_ECDSA,CKM_ECDH1_DERIVE\n"
Begin = Callable[[Wishes], Path]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    return beginning(tmp_path, _FEW)


def beginning(tmp_path: Path, mechanisms: str) -> Begin:
    """The first step of an installation in `signerd`, with what the wishes say."""
    module = softhsm.find_module()
    environment, pin = softhsm.create_token(tmp_path / "softhsm", module)
    settings = Path(environment["SOFTHSM2_CONF"])
    settings.write_text(settings.read_text("utf-8") + mechanisms, encoding="utf-8")
    pin_file = tmp_path / "pin"
    pin_file.write_bytes(pin)
    pin_file.chmod(0o400)

    def first_step(wishes: Wishes) -> Path:
        return create(
            tmp_path / "signerd",
            module=module,
            token=softhsm.TOKEN_LABEL,
            pin_source=f"file:{pin_file}",
            deployment="example",
            server_names=["localhost"],
            environment=environment,
            wishes=wishes,
        )

    return first_step


def public_key(path: Path, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> Path:
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def finish(request: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    root, key = device_ca.create_root("example", now)
    sub_ca = device_ca.sign_sub_ca(x509.load_pem_x509_csr(request.read_bytes()), root, key, now)
    (tmp_path / "sub-ca.pem").write_bytes(sub_ca.public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    install_certificate(
        tmp_path / "signerd", certificate=tmp_path / "sub-ca.pem", root=tmp_path / "root.pem", by="ann"
    )


def entry_1(directory: Path) -> dict[str, object]:
    database = sqlite3.connect(directory / "signerd.sqlite")
    (data,) = database.execute("SELECT data FROM entries WHERE entry_index = 1").fetchone()
    database.close()
    return dict(json.loads(data))


def checked(directory: Path) -> str:
    return run([sys.executable, "-m", "signerd", "check-config", "-c", directory / "signerd.toml", "--login"])


def test_what_the_token_cannot_hold_is_sealed_to_it_and_to_the_spare(begin: Begin, tmp_path: Path) -> None:
    spare = Recipient.of(ec.generate_private_key(ec.SECP384R1()).public_key())
    finish(begin(Wishes(spares=(public_key(tmp_path / "spare.pem", spare.key()),))), tmp_path)
    directory = tmp_path / "signerd"
    hsm = load(directory / "signerd.toml").hsm
    assert (hsm.checkpoint_key_in, hsm.master_key_in) == ("sealed", "sealed")
    entry = entry_1(directory)
    recipients = entry.pop("recipients")
    assert isinstance(recipients, list)
    assert recipients[1:] == [spare.spki_sha256().hex()]
    assert entry.pop("time")
    assert entry.pop("id")
    assert entry == {
        "v": 3,
        "type": "keys_committed",
        "by": "ann",
        "checkpoint": "sealed",
        "chip_master": "sealed",
        "chip_master_commitment": hsm.master_commitment,
    }
    said = checked(directory)
    assert "CA key: in the token; checkpoint key: sealed; chip master key: sealed; sealed to 2 tokens" in said
    assert "has the keys, or opens them" in said


def test_a_token_that_holds_all_has_all_and_no_entry_says_so(tmp_path: Path) -> None:
    begin = beginning(tmp_path, "")
    finish(begin(Wishes()), tmp_path)
    assert "checkpoint key: in the token; chip master key: in the token" in checked(tmp_path / "signerd")
    assert not (tmp_path / "signerd" / "sealed.json").exists()
    database = sqlite3.connect(tmp_path / "signerd" / "signerd.sqlite")
    assert database.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    database.close()


def test_no_spare_is_taken_and_named_each_time(begin: Begin, tmp_path: Path) -> None:
    finish(begin(Wishes(master_key=Place.NONE, no_spare=True)), tmp_path)
    said = checked(tmp_path / "signerd")
    assert "chip master key: none; sealed to ONE TOKEN ALONE" in said
    assert entry_1(tmp_path / "signerd")["chip_master"] == "none"


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(), "--spare FILE"),
        (Wishes(no_spare=True, spares=(Path("x.pem"),)), "--spare FILE"),
        (Wishes(checkpoint_key=Place.TOKEN, no_spare=True), "cannot hold an Ed25519 key"),
        (Wishes(master_key=Place.TOKEN, no_spare=True), "cannot hold an HMAC-SHA-256 key"),
        (Wishes(checkpoint_key=Place.NONE), "the log needs its checkpoint key"),
        (Wishes(spares=(Path("/nowhere.pem"),)), "cannot read /nowhere.pem"),
    ],
)
def test_what_cannot_be_is_refused_before_the_token_is_written_to(
    begin: Begin, tmp_path: Path, wishes: Wishes, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        begin(wishes)
    assert f"remove {tmp_path / 'signerd'}" in str(refusal.value)
    assert not list((tmp_path / "softhsm").rglob("*.object"))[1:]  # the token's own


def test_a_spare_must_be_a_key_to_which_something_can_be_sealed(begin: Begin, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024).public_key()
    with pytest.raises(ConfigError, match="2048, 3072 or 4096 bits"):
        begin(Wishes(spares=(public_key(tmp_path / "rsa.pem", key),)))


def test_a_token_that_does_not_open_what_is_sealed_to_it_is_found_out_at_once(tmp_path: Path) -> None:
    """SoftHSM 2.6 does OAEP with SHA-1 alone."""
    rsa_alone = (
        "slots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_ECDSA,CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS_OAEP\n"
    )
    with pytest.raises(Unavailable, match="opening with the sealing key") as failure:
        beginning(tmp_path, rsa_alone)(Wishes(no_spare=True))
    assert "remove what is there of birthmark-ca" in str(failure.value)


def test_offers_follow_the_token(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        begin(Wishes())
    config = load(tmp_path / "signerd" / "signerd.toml")
    offers = asyncio.run(ask_offers(config.hsm, TokenAtHand(tmp_path, config).pin, rejected_pins(config)))
    assert offers == ["sealing"]


def test_the_second_step_tries_no_pin_that_the_token_rejected(tmp_path: Path) -> None:
    request, pin = beginning(tmp_path, "")(Wishes()), tmp_path / "pin"
    right = pin.read_bytes()
    write_pin(pin, b"not-the-pin")
    with pytest.raises(WrongPin):
        finish(request, tmp_path)
    with pytest.raises(WrongPin, match="it is not tried again"):
        finish(request, tmp_path)
    write_pin(pin, right)
    finish(request, tmp_path)


def write_pin(file: Path, pin: bytes) -> None:
    file.unlink()
    file.write_bytes(pin)
    file.chmod(0o400)
