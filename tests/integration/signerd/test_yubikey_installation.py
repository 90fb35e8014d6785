"""A whole installation on a YubiKey: keys that Yubico's tool made, 9c with the PIN each time; checkpoint key
and chip master key sealed to it and to a second one; boards are certified, and the log verifies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.yubikey_installation import YubiKeyInstallation
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.config import load
from tokens import presence, yubikey
from tokens.piv_card import PivCard
from tokens.yubikey import VirtualYubiKey


# The slot that wants the most; a login takes ykcs11 seconds, and an installation logs in often.
@pytest.fixture(
    params=[
        pytest.param("9c", marks=pytest.mark.check),
        *(pytest.param(slot, marks=pytest.mark.soak) for slot in ("9a", "82")),
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
    assert {"checkpoint", "recipients"} <= next(
        entry for entry in line.entries() if entry["type"] == "keys_committed"
    ).keys()
    said = installation.admin("check-config")
    assert "sealed to 2 tokens" in said
    assert opened_by_spare(installation) == opened_by(installation)


def opened_by(installation: Installation, token: str = "pkcs11:serial=11") -> dict[str, bytes]:
    assert isinstance(installation, YubiKeyInstallation)
    hsm = load(installation.config).hsm.model_copy(update={"token": token})
    return asyncio.run(derive_chip_keys(hsm, installation.keys.pin.encode(), ["chip-1"]))


def opened_by_spare(installation: Installation) -> dict[str, bytes]:
    return opened_by(installation, "pkcs11:serial=12")
