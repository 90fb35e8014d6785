"""A key holder's service whose checkpoint key and chip master key are sealed to its token: a YubiKey, and a
TPM 2.0. Boards, restarts, losses; the spare opens, and tokens come and go."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.edge import code_of
from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.key_holder_service import KeyHolderService
from harness.process import wait_until
from harness.sealed_installation import SealedInstallation, SpareToken
from harness.token_installation import TokenInstallation
from harness.yubikey_installation import YubiKeyInstallation
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from tokens import presence, tpm2_token, yubikey
from tokens.piv_card import PivCard
from tokens.tpm2_token import Tpm2Token
from tokens.yubikey import VirtualYubiKey

pytestmark = pytest.mark.check
SERVICE_USER = 10_002  # a container's: a number alone
WRONG_PIN = 77


class Held:
    """A line whose keys a service has."""

    seen: int  # characters of signerd's log, when a token was lost

    def __init__(self, installation: Installation) -> None:
        self.line = HostileLine(installation)
        self.order = self.line.open_order(quantity=10)
        self.certify()
        installation.process.stop()
        self.service = KeyHolderService(installation)
        self.service.take_over()
        self.service.start()
        installation.start_signerd()
        self.line.reconnect()

    def certify(self) -> None:
        """A board whose key follows from the master key, to its stamp."""
        board = self.line.board()
        session, signed = self.line.pc1.certify(self.order, board)
        self.line.pc1.stamp(board, session, signed)

    def loses(self, token: Callable[[], None]) -> None:
        """Boards wait, and signerd has noticed."""
        token()
        self.seen = len(self.line.installation.process.errors())
        board = self.line.board()
        assert code_of(lambda: self.line.pc1.certify(self.order, board)) != ""

    def comes_back(self) -> None:
        """A board is certified again. Asked again and again, a station would be over its rate."""
        signerd = self.line.installation.process
        wait_until(
            lambda: "key_holder_replaced" in signerd.errors()[self.seen :],
            "the service's key holder",
            program=signerd,
            timeout_s=60,
        )
        self.certify()

    def restart(self) -> None:
        self.service.restart()
        self.line.reconnect()


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as resources:
        yield resources


def test_a_yubikey_and_the_spare_from_the_safe(resources: ExitStack, tmp_path: Path) -> None:
    presence.skip(yubikey.missing())
    cards = PivCard(serial=11), PivCard(serial=12)
    keys = resources.enter_context(VirtualYubiKey(*cards))
    installation = resources.enter_context(YubiKeyInstallation(tmp_path / "line", keys, "9c"))
    cards[1].take_key(cards[0], 0x9C)  # as where one CA key was imported into both
    keys.pull(1)  # into the safe
    held = Held(installation)
    held.certify()
    held.loses(keys.pull)
    keys.put_in(0)
    held.comes_back()

    keys.pull(0)  # and this one is lost
    keys.put_in(1)
    held.service.stop()
    text = held.service.settings.read_text("utf-8")
    held.service.settings.write_text(text.replace("pkcs11:serial=11", "pkcs11:serial=12"), "utf-8")
    held.service.start()
    installation.start_signerd()
    held.line.reconnect()
    held.certify()
    opened = json.loads(held.service.admin("recipient", "try", "--json"))
    assert opened["opens"] == ["checkpoint", "chip-master"]
    held.line.verify()
    held.line.close()


def test_a_tpm_and_a_token_of_another_kind(resources: ExitStack, tmp_path: Path) -> None:
    presence.skip(tpm2_token.missing())
    token = resources.enter_context(Tpm2Token())
    installation = resources.enter_context(TokenInstallation(tmp_path / "line", token))
    held = Held(installation)
    held.certify()
    held.loses(token.stop)
    token.start()
    held.comes_back()

    spare = SpareToken(tmp_path / "spare")
    held.service.admin("recipient", "add", spare.public_key)
    kinds = [each["key"] for each in json.loads(held.service.admin("recipient", "list", "--json"))]
    assert kinds == ["rsa3072", "p256"]
    module = ("--module", spare.module, "--token", spare.label, "--sealing-key", spare.key)
    assert "they are this installation's" in held.service.admin("recipient", "try", *module, *spare.at_hand)
    held.restart()
    held.certify()
    held.service.admin("recipient", "remove", spare.name, "--no-spare")
    assert held.service.refused("recipient", "try", *module, *spare.at_hand)[0] == 3
    held.line.verify()
    held.line.close()


def test_what_is_sealed_goes_with_the_token(resources: ExitStack, tmp_path: Path) -> None:
    """Also the seed of a successor of the log's key. It is the service's alone, also once root changed it."""
    installation = resources.enter_context(SealedInstallation(tmp_path / "line"))
    installation.start_signerd()
    key = json.loads(installation.admin("checkpoint-key", "add", "--json"))["key"]
    installation.process.stop()
    own = (installation.home / "sealed.json", installation.home / "checkpoint-keys" / f"{key}.sealed.json")
    before = [file.read_bytes() for file in own]
    service = KeyHolderService(installation)
    said = service.take_over("--user", str(SERVICE_USER))
    assert not [file for file in own if file.exists()]
    folder = service.settings.parent
    held = (folder / "sealed.json", folder / "checkpoint-key-2.sealed.json")
    assert [file.read_bytes() for file in held] == before
    assert f"keep copies of {held[0]} and {held[1]}" in said

    for pin in folder.glob("*.pin"):
        os.chown(pin, 0, 0)  # the service is root's here, and reads no other's PIN
    service.start()
    installation.start_signerd()
    spare = SpareToken(tmp_path / "spare")
    service.admin("recipient", "add", spare.public_key)
    assert all(spare.recipient in read_sealed_file(file).recipients for file in held)
    wrong = tmp_path / "wrong.pin"
    wrong.write_bytes(b"wrong")
    wrong.chmod(0o400)
    assert service.refused("recipient", "try", "--pin", f"file:{wrong}")[0] == WRONG_PIN
    note = service.notes.with_name("notes.sqlite.rejected-pins")
    for path in (*held, note, service.settings):
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (SERVICE_USER, 0o600), path
