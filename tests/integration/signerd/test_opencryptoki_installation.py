"""A whole installation on opencryptoki's software token, which has RSA and HMAC and no EC: an RSA
issuer certifies boards over a restart and a loss of the slot daemon; the log's key is sealed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge import code_of
from harness.hostile_line import HostileLine
from harness.process import run, wait_until
from harness.signerd_commands import SIGNERD
from harness.token_installation import TokenInstallation
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from tokens import opencryptoki, presence
from tokens.opencryptoki import OpencryptokiToken

pytestmark = pytest.mark.check


@pytest.fixture
def line(tmp_path: Path) -> Iterator[HostileLine]:
    presence.skip(opencryptoki.missing())
    with (
        OpencryptokiToken() as token,
        TokenInstallation(tmp_path / "line", token, key_type="rsa2048") as installation,
    ):
        line = HostileLine(installation)
        yield line
        line.close()


def test_boards_are_certified_by_an_rsa_issuer(line: HostileLine) -> None:
    installation = line.installation
    assert isinstance(installation, TokenInstallation)
    sealed = read_sealed_file(installation.home / "sealed.json")
    assert [recipient.kind for recipient in sealed.recipients] == ["rsa3072"]
    assert [role.value for role in sealed.secrets] == ["checkpoint"]  # the chip master key is in the token
    assert _what_its_keys_do(installation) == {
        # The module refuses an attribute that PKCS #11 2.20 does not know: that grants no decryption.
        "birthmark-ca": {"sign"},
        "birthmark-master": {"sign"},
        "birthmark-sealing": {"decrypt"},
    }
    order = line.open_order(quantity=4)
    line.pc1.certify(order, line.board())
    installation.process.stop()
    assert "opens them" in installation.admin("check-config", "--login")
    installation.start_signerd()
    line.reconnect()
    line.pc1.certify(order, line.board())

    # The slot daemon is gone: who has the module open goes on, and a new key holder waits for it.
    installation.token.stop()
    line.pc1.certify(order, line.board())
    installation.key_holder().kill()
    board = line.board()
    wait_until(lambda: code_of(lambda: line.pc1.certify(order, board)) == "unavailable", "a refusal")
    installation.token.start()
    wait_until(lambda: code_of(lambda: line.pc1.certify(order, board)) == "", "a board", timeout_s=60)
    line.verify()


def _what_its_keys_do(installation: TokenInstallation) -> dict[str, set[str]]:
    token = installation.token
    given = [f"--hsm-env={name}={value}" for name, value in token.environment.items()]
    pin = f"file:{installation.directory / 'pin'}"
    command = (
        SIGNERD,
        "token",
        "probe",
        token.module,
        "--token",
        token.label,
        "--pin",
        pin,
        "--seconds",
        "0",
    )
    keys = json.loads(run([*command, *given, "--json"]))["keys"]
    return {each["label"]: {name for name in ("sign", "decrypt", "derive") if each[name]} for each in keys}
