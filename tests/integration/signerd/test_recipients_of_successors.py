"""`signerd recipient` where the log's key has a successor that is sealed too: a spare that is added after the
rotation opens both, and one that is removed opens neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.audited import RPC_TIMEOUT_S, Audited
from harness.installation import Installation
from harness.process import ProgramError
from harness.sealed_installation import SealedInstallation, SpareToken
from harness.signerd_commands import change, signerd
from signerd.adapters import durable_files
from signerd.adapters.cli.app import build_app
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.core.recipient import Recipient

pytestmark = pytest.mark.check


class Line(Audited):
    """An installation that runs, and an auditor."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        installation.start_signerd()
        self.auditor = installation.add_auditor("alice")

    def said(self, *command: str | Path) -> Any:
        return json.loads(self.installation.admin(*command, "--json"))

    def successor(self, *options: str) -> str:
        """The id of a new one, which is announced."""
        return str(self.said("checkpoint-key", "add", *options)["key"])

    def restart(self) -> None:
        self.installation.process.stop()
        self.installation.start_signerd()

    def opens(self, key: str) -> tuple[Recipient, ...]:
        """Who opens the seed of this key of the log."""
        folder = self.installation.home / "checkpoint-keys"
        return read_sealed_file(folder / f"{key}.sealed.json").recipients

    def committed(self) -> list[dict[str, Any]]:
        with self.audit_channel() as channel:
            stub = audit_pb2_grpc.AuditServiceStub(channel)
            batches = stub.StreamEntries(audit_pb2.StreamEntriesRequest(), timeout=RPC_TIMEOUT_S)
            entries = [json.loads(entry) for batch in batches for entry in batch.entries]
        return [entry for entry in entries if entry["type"] == "keys_committed"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with SealedInstallation(tmp_path_factory.mktemp("line")) as installation:
        yield Line(installation)


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> SpareToken:
    return SpareToken(tmp_path_factory.mktemp("spare") / "dev")


@pytest.fixture(scope="module")
def key(line: Line) -> str:
    """Of the successor."""
    return line.successor()


@pytest.fixture
def added(line: Line, spare: SpareToken, key: str) -> Iterator[str]:
    """The successor, of a test that begins with the spare and ends without it."""
    line.installation.admin("recipient", "add", spare.public_key)
    yield key
    if spare.name in line.committed()[-1]["recipients"]:
        line.installation.admin("recipient", "remove", spare.name, "--no-spare")


class PowerCut(BaseException):
    """Nothing runs after it."""


def power_cut(*_: object) -> None:
    raise PowerCut


def dies_between_the_files(line: Line, monkeypatch: pytest.MonkeyPatch, *command: str | Path) -> None:
    """The command itself, up to its second write."""
    written: list[Path] = []

    def replace(path: Path, *arguments: Any) -> None:
        if written:
            raise PowerCut
        written.append(path)
        durable_files.replace(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr("signerd.adapters.recipients.durable_files", SimpleNamespace(replace=replace))
        words = [str(each) for each in (*command, "--config", line.installation.config)]
        with pytest.raises(PowerCut):
            build_app(lambda *_: None)(words, standalone_mode=False)
    assert written == [line.installation.home / "sealed.json"]


def refused(line: Line, *command: str | Path) -> tuple[int, str]:
    return signerd(line.installation, *command)


def test_a_spare_that_is_added_after_the_rotation_opens_the_successor(
    line: Line, spare: SpareToken, added: str
) -> None:
    installation = line.installation
    assert spare.recipient in line.opens(added)
    opened = line.said("recipient", "try", *spare.at_hand)
    assert opened == {
        "spki_sha256": spare.name,
        "opens": ["checkpoint", "chip-master", f"checkpoint-key {added}"],
    }
    assert "sealed to 2 tokens" in installation.admin("check-config")
    assert [each["opens"] for each in line.said("recipient", "list")] == [opened["opens"]] * 2
    line.restart()
    installation.admin("checkpoint-key", "activate", added)
    line.verify()


def test_one_that_is_removed_opens_neither(line: Line, spare: SpareToken, added: str) -> None:
    said = line.installation.admin("recipient", "remove", spare.name, "--no-spare")
    assert "a copy of the file from before can still open" in said
    assert spare.recipient not in line.opens(added)
    assert spare.name not in line.committed()[-1]["recipients"]
    assert refused(line, "recipient", "try", *spare.at_hand)[0] == 3
    line.verify()


def test_a_crash_between_the_files_while_one_is_added(
    line: Line, spare: SpareToken, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_between_the_files(line, monkeypatch, "recipient", "add", spare.public_key)
    entries = line.committed()
    assert spare.name in entries[-1]["recipients"]
    assert spare.recipient not in line.opens(key)
    missing = f"{spare.name} does not open the seed of the log's key {key}: add it again"
    code, said = refused(line, "check-config")
    assert (code, missing in said) == (3, True)
    code, said = refused(line, "recipient", "try", *spare.at_hand)
    assert (code, f"the seed of the log's key {key}: " in said) == (3, True)
    line.restart()  # nothing of it keeps signerd from starting
    line.installation.admin("recipient", "add", spare.public_key)
    assert line.committed() == entries
    assert "sealed to 2 tokens" in line.installation.admin("check-config")
    line.installation.admin("recipient", "try", *spare.at_hand)
    line.installation.admin("recipient", "remove", spare.name, "--no-spare")


def test_a_crash_between_the_files_while_one_is_removed(
    line: Line, spare: SpareToken, added: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_between_the_files(line, monkeypatch, "recipient", "remove", spare.name, "--no-spare")
    entries = line.committed()
    assert spare.recipient in line.opens(added)
    code, said = refused(line, "check-config")
    assert (code, f"{spare.name} opens, and the ledger does not name it" in said) == (3, True)
    line.installation.admin("recipient", "remove", spare.name, "--no-spare")
    assert line.committed() == entries
    assert spare.recipient not in line.opens(added)
    line.installation.admin("check-config")
    line.verify()


def test_who_was_removed_does_not_open_the_key_that_comes_next(
    line: Line, spare: SpareToken, added: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that was made before, and waits; a key that is retired stays as it is."""
    line.installation.admin("checkpoint-key", "retire", added)
    add = ["checkpoint-key", "add", "--key", "waits", "--config", str(line.installation.config)]
    with monkeypatch.context() as patched:
        patched.setattr("signerd.adapters.cli.checkpoint_keys._announce", power_cut)
        with pytest.raises(PowerCut):
            build_app(lambda *_: None)(add, standalone_mode=False)
    remove = ("recipient", "remove", spare.name, "--no-spare")
    code, said = refused(line, *remove)
    assert (code, "waits to be announced" in said) == (1, True)
    (line.installation.home / "checkpoint-keys" / "next.toml").unlink()
    line.installation.admin(*remove)
    assert spare.recipient in line.opens(added)  # as it was: its token may be gone
    following = line.successor("--key", "another")
    assert spare.recipient not in line.opens(following)
    line.verify()


def test_the_successor_alone_is_sealed(spare: SpareToken, tmp_path: Path) -> None:
    """Of an installation whose own keys are in the token."""
    with Installation(tmp_path / "plain") as installation:
        line = Line(installation)
        key = line.successor("--in", "sealed")
        assert "sealed to ONE TOKEN ALONE" in installation.admin("check-config")
        installation.admin("recipient", "add", spare.public_key)
        assert spare.recipient in line.opens(key)
        assert line.said("recipient", "try", *spare.at_hand)["opens"] == [f"checkpoint-key {key}"]
        assert "sealed to 2 tokens" in installation.admin("check-config")
        line.verify()
        (first, _) = (each["key"] for each in line.said("checkpoint-key", "list"))
        line.restart()
        installation.admin("checkpoint-key", "activate", key)
        installation.admin("checkpoint-key", "retire", first)
        change(installation, "[hsm]\n", '[hsm]\ncheckpoint_key_in = "none"\n')
        line.restart()
        following = line.successor("--key", "another", "--in", "sealed")
        assert line.opens(following) == line.opens(key)
        installation.admin("recipient", "remove", spare.name, "--no-spare")
        assert spare.recipient not in line.opens(key) + line.opens(following)
        line.verify()
        with pytest.raises(ProgramError, match="has to stay"):
            installation.admin("recipient", "remove", line.opens(key)[0].spki_sha256().hex(), "--no-spare")
