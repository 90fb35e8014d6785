"""A whole installation on a YubiKey: keys that Yubico's tool made, 9c with the PIN each time; checkpoint key
and chip master key sealed to it and to a second one; boards are certified, and the log verifies. And one on
which the second key was added later, and then has to do alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from harness.hostile_line import HostileLine, code_of
from harness.installation import Installation
from harness.process import ProgramError
from harness.yubikey_installation import YubiKeyInstallation
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.config import load
from tokens import presence, yubikey
from tokens.piv_card import PivCard
from tokens.yubikey import VirtualYubiKey


# The slot that wants the PIN each time, and one that Yubico's tool knows as retired; a login takes ykcs11
# seconds, and an installation logs in often.
@pytest.fixture(
    params=[
        *(pytest.param(slot, marks=pytest.mark.check) for slot in ("9c", "82")),
        pytest.param("9a", marks=pytest.mark.soak),
    ]
)
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=11), PivCard(serial=12)) as keys:
        installation = YubiKeyInstallation(tmp_path_factory.mktemp("yubikey"), keys, request.param)
        with installation:
            line = HostileLine(installation)
            yield line
            line.close()


def test_boards_are_certified_over_a_restart_and_the_spare_opens_the_same(line: HostileLine) -> None:
    installation = line.installation
    order, first, second = line.open_order(quantity=2), line.board(), line.board()
    session, signed = line.pc1.certify(order, first)
    line.pc1.stamp(first, session, signed)
    installation.process.stop()
    installation.start_signerd()
    line.reconnect()
    session, signed = line.pc1.certify(order, second)
    line.pc1.stamp(second, session, signed)
    line.verify()
    demand_crl(installation, revoked=signed.serial_number)
    assert {"checkpoint", "recipients"} <= next(
        entry for entry in line.entries() if entry["type"] == "keys_committed"
    ).keys()
    said = installation.admin("check-config")
    assert "sealed to 2 tokens" in said
    assert opened_by_spare(installation) == opened_by(installation)


def demand_crl(installation: Installation, *, revoked: str) -> None:
    """Of the key in the slot: the first one is empty, the next has the board that was revoked since."""
    sub_ca = x509.load_pem_x509_certificate((installation.home / "ca" / "sub-ca.pem").read_bytes())
    key = sub_ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    for count in (0, 1):
        out = installation.directory / f"{count}.crl"
        installation.admin("crl", "--out", out)
        crl = x509.load_der_x509_crl(out.read_bytes())
        assert crl.is_signature_valid(key)
        assert len(crl) == count
        if count == 0:
            installation.admin("revoke", revoked, "--reason", "superseded")


@pytest.mark.check
def test_the_first_is_destroyed_and_the_spare_issues_with_a_ca_key_of_its_own(tmp_path: Path) -> None:
    """Which cannot be cloned: its sub-CA was announced before, and lay in the safe. The same log, the same
    chips; what the dead one began goes on in its place."""
    presence.skip(yubikey.missing())
    with (
        VirtualYubiKey(PivCard(serial=11), PivCard(serial=12)) as keys,
        YubiKeyInstallation(tmp_path / "line", keys, "9a") as installation,
    ):
        add_spare_ca(installation)
        keys.pull(1)  # into the safe
        line = HostileLine(installation)
        order, first, second = line.open_order(quantity=2), line.board(), line.board()
        line.pc1.certify(order, first)
        keys.pull(0)  # in the middle of a board
        session = line.pc1.open(order, second.chip_id)
        assert code_of(lambda: line.pc1.sign(session, *second.request(session.challenge))) == "unavailable"

        installation.process.stop()
        keys.put_in(1)
        text = installation.config.read_text("utf-8")
        text = text.replace("pkcs11:serial=11", "pkcs11:serial=12").replace(
            "[hsm]\n", '[hsm]\nca_key_in = "none"\n'
        )
        installation.config.write_text(text, encoding="utf-8")
        assert "its key is NOT HERE" in installation.admin("check-config")
        installation.start_signerd()
        installation.admin("ca", "activate", "spare")
        installation.admin("ca", "retire", "main")
        line.reconnect()
        _, signed = line.pc1.certify(order, second)
        assert signed.serial_number.endswith("2")
        (abandoned,) = [entry for entry in line.entries() if entry["type"] == "intent_abandoned"]
        assert (abandoned["issuer"], abandoned["successor"]) == ("main", "spare")
        line.verify()
        line.close()


def add_spare_ca(installation: YubiKeyInstallation) -> None:
    """By the steps of docs/operations.md."""
    keys, name = installation.keys, "spare"
    keys.generate("9c", number=1)
    pin = f"file:{installation.directory / 'pin'}"
    token = [
        "--module",
        keys.module,
        "--token",
        "pkcs11:serial=12",
        "--pin",
        pin,
        "--ca-key",
        "pkcs11:id=%02",
    ]
    environment = [f"--hsm-env={key}={value}" for key, value in keys.environment.items()]
    installation.start_signerd()
    said = json.loads(
        installation.admin("ca", "request", name, *token, "--ca-key", "pkcs11:id=%02", *environment, "--json")
    )
    sub_ca, root = installation.signed_offline(Path(said["request"]))
    installation.admin("ca", "add", name, "--certificate", sub_ca, "--root", root)
    installation.process.stop()


def opened_by(installation: Installation, token: str = "pkcs11:serial=11") -> dict[str, bytes]:
    assert isinstance(installation, YubiKeyInstallation)
    hsm = load(installation.config).hsm.model_copy(update={"token": token})
    return asyncio.run(derive_chip_keys(hsm, installation.keys.pin.encode(), ["chip-1"]))


def opened_by_spare(installation: Installation) -> dict[str, bytes]:
    return opened_by(installation, "pkcs11:serial=12")


@pytest.mark.check
def test_the_first_is_destroyed_and_one_that_was_added_later_goes_on(tmp_path: Path) -> None:
    """The same log, the same chips. Its CA key is the first one's, as where one was imported into both: a
    sub-CA of its own is another matter (`signerd ca`)."""
    presence.skip(yubikey.missing())
    cards = PivCard(serial=11), PivCard(serial=12)
    with (
        VirtualYubiKey(*cards) as keys,
        YubiKeyInstallation(tmp_path / "line", keys, "9a", spare=False) as installation,
    ):
        cards[1].take_key(cards[0], 0x9A)
        line = HostileLine(installation)
        order, first, second = line.open_order(quantity=2), line.board(), line.board()
        line.pc1.certify(order, first)
        other = "pkcs11:serial=12"
        with pytest.raises(ProgramError, match="not sealed to this key"):
            installation.admin("recipient", "try", "--token", other)
        installation.admin("recipient", "add", installation.spare)
        assert "they are this installation's" in installation.admin("recipient", "try", "--token", other)

        keys.pull(0)
        installation.process.stop()
        text = installation.config.read_text("utf-8")
        installation.config.write_text(text.replace("pkcs11:serial=11", other), encoding="utf-8")
        assert "sealed to 2 tokens" in installation.admin("check-config", "--login")
        installation.start_signerd()
        line.reconnect()
        line.pc1.certify(order, second)  # by a key that follows from the master key
        line.verify()  # with the verifier key that the auditor has
        line.close()
