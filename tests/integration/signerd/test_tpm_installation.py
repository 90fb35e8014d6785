"""A whole installation on a TPM 2.0, through tpm2-pkcs11: keys that signerd made in it, the rest sealed to an
RSA key there; boards are certified over a restart and a loss of the TPM; a token of another kind is added."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge import code_of
from harness.hostile_line import HostileLine
from harness.process import wait_until
from harness.sealed_installation import SpareToken
from harness.token_installation import TokenInstallation
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from tokens import presence, tpm2_token
from tokens.tpm2_token import Tpm2Token

pytestmark = pytest.mark.check


@pytest.fixture
def line(tmp_path: Path) -> Iterator[HostileLine]:
    presence.skip(tpm2_token.missing())
    with Tpm2Token() as token, TokenInstallation(tmp_path / "line", token) as installation:
        line = HostileLine(installation)
        yield line
        line.close()


def test_boards_are_certified_from_a_tpm(line: HostileLine, tmp_path: Path) -> None:
    installation = line.installation
    assert isinstance(installation, TokenInstallation)
    sealed = read_sealed_file(installation.home / "sealed.json")
    assert [recipient.kind for recipient in sealed.recipients] == ["rsa3072"]
    order = line.open_order(quantity=3)
    line.pc1.certify(order, line.board())
    installation.process.stop()
    assert "opens them" in installation.admin("check-config", "--login")
    installation.start_signerd()
    line.reconnect()
    line.pc1.certify(order, line.board())

    # A token of another kind opens the same.
    spare = SpareToken(tmp_path / "spare")
    installation.admin("recipient", "add", spare.public_key)
    kinds = [each["key"] for each in json.loads(installation.admin("recipient", "list", "--json"))]
    assert kinds == ["rsa3072", "p256"]
    module = ("--module", spare.module, "--token", spare.label, "--sealing-key", spare.key)
    assert "they are this installation's" in installation.admin("recipient", "try", *module, *spare.at_hand)

    # The TPM is gone, and comes back.
    installation.token.stop()
    board = line.board()
    assert code_of(lambda: line.pc1.certify(order, board)) != ""
    installation.token.start()
    wait_until(lambda: code_of(lambda: line.pc1.certify(order, board)) == "", "a board", timeout_s=60)
    line.verify()
