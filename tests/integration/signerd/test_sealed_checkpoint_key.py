"""A successor of the log's key where keys are sealed: its seed opens with the tokens that open the first
one's, and no other secret takes its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.process import COMMANDS, run
from harness.sealed_installation import SealedInstallation, SpareToken
from harness.signerd_commands import change, signerd
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.core.sealing import KeyRole

pytestmark = pytest.mark.check


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SealedInstallation]:
    with SealedInstallation(tmp_path / "line") as made:
        made.start_signerd()
        yield made


def restarted(installation: SealedInstallation) -> None:
    installation.process.stop()
    installation.start_signerd()


def said(installation: SealedInstallation, *arguments: str | Path) -> Any:
    return json.loads(installation.admin("checkpoint-key", *arguments, "--json"))


def test_the_first_is_left_out_and_recipients_go_on(installation: SealedInstallation, tmp_path: Path) -> None:
    spare, auditor = SpareToken(tmp_path / "spare"), installation.add_auditor("alice")
    installation.admin("recipient", "add", spare.public_key)
    (first,) = (each["key"] for each in said(installation, "list"))
    made = said(installation, "add")
    file = installation.home / "checkpoint-keys" / f"{made['key']}.sealed.json"
    assert set(read_sealed_file(file).secrets) == {KeyRole.CHECKPOINT}
    opens = {each.spki_sha256().hex() for each in read_sealed_file(file).recipients}
    assert opens == {each.spki_sha256().hex() for each in installation.sealed().recipients}
    restarted(installation)
    said(installation, "activate", made["key"])
    said(installation, "retire", first)
    change(installation, 'checkpoint_key_in = "sealed"', 'checkpoint_key_in = "none"')
    restarted(installation)
    installation.admin("check-config", "--login")
    installation.admin("recipient", "remove", spare.name, "--no-spare")  # `keys_committed` goes on
    verify: list[str | Path] = [COMMANDS / "birthmark-auditor", "verify", "-c", auditor.config]
    run(verify)

    # Another secret under the same recipients, as somebody with the token's public key could seal one.
    file.write_bytes(installation.sealed_file.read_bytes())
    installation.process.stop()
    code, text = signerd(installation, "run")
    assert code == 3, text
    assert "is not this installation's" in text
