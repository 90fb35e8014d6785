"""`signerd recipient`: a token more that opens what is sealed, or one less, while signerd runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.edge import code_of
from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.process import wait_until
from harness.sealed_installation import SealedInstallation, SpareToken
from signerd.adapters import recipients
from signerd.adapters.cli.app import build_app
from signerd.adapters.one_at_a_time import alone
from signerd.adapters.pin import read_pin
from signerd.config import database_url, load
from signerd.core.sealing import KeyRole, seal

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with SealedInstallation(tmp_path_factory.mktemp("line")) as installation:
        line = HostileLine(installation)
        yield line
        line.close()


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> SpareToken:
    return SpareToken(tmp_path_factory.mktemp("spare") / "dev")


@pytest.fixture
def installation(line: HostileLine, spare: SpareToken) -> Iterator[SealedInstallation]:
    """Each test begins and ends with one recipient, in file and ledger."""
    assert isinstance(line.installation, SealedInstallation)
    yield line.installation
    named = [each["spki_sha256"] for each in listed(line.installation)]
    if spare.name in named:
        line.installation.admin("recipient", "remove", spare.name, "--no-spare")


def listed(installation: Installation) -> list[dict[str, object]]:
    return list(json.loads(installation.admin("recipient", "list", "--json")))


def committed(line: HostileLine) -> list[dict[str, object]]:
    return [entry for entry in line.entries() if entry["type"] == "keys_committed"]


def test_a_token_more_opens_the_same_and_signerd_goes_on(
    line: HostileLine, installation: SealedInstallation, spare: SpareToken
) -> None:
    before, entries = installation.sealed(), committed(line)
    order = line.open_order(quantity=2)
    line.pc1.certify(order, line.board())
    told = json.loads(installation.admin("recipient", "add", spare.public_key, "--json"))
    assert told["spki_sha256"] == spare.name
    after = installation.sealed()
    assert after.recipients == (*before.recipients, spare.recipient)
    for role, copies in before.secrets.items():
        assert after.secrets[role][:1] == copies
    (entry,) = committed(line)[len(entries) :]
    assert entry["recipients"] == [each.spki_sha256().hex() for each in after.recipients]
    for same in ("checkpoint", "chip_master", "chip_master_commitment"):
        assert entry[same] == entries[-1][same]
    assert installation.sealed_file.stat().st_mode & 0o777 == 0o600
    opened = json.loads(installation.admin("recipient", "try", *spare.at_hand, "--json"))
    assert opened == {"spki_sha256": spare.name, "opens": ["checkpoint", "chip-master"]}
    assert "sealed to 2 tokens" in installation.admin("check-config")
    assert {each["in_file"] and each["in_ledger"] for each in listed(installation)} == {True}
    # The daemon goes on, and with another key holder.
    old = installation.key_holder()
    old.kill()
    wait_until(
        lambda: [each.pid for each in installation.process.children()] not in ([], [old.pid]), "another"
    )
    board = line.board()
    wait_until(lambda: code_of(lambda: line.pc1.certify(order, board)) == "", "a board")
    line.verify()


def test_who_is_a_recipient_already_is_not_added_again(
    line: HostileLine, installation: SealedInstallation, spare: SpareToken
) -> None:
    installation.admin("recipient", "add", spare.public_key)
    entries, file = len(committed(line)), installation.sealed_file.read_bytes()
    code, said = installation.refused("recipient", "add", spare.public_key)
    assert (code, "already_exists" in said) == (1, True)
    assert (len(committed(line)), installation.sealed_file.read_bytes()) == (entries, file)


def test_a_token_less_and_what_it_keeps(
    line: HostileLine, installation: SealedInstallation, spare: SpareToken, tmp_path: Path
) -> None:
    installation.admin("recipient", "add", spare.public_key)
    copy = shutil.copy(installation.sealed_file, tmp_path)
    code, said = installation.refused("recipient", "remove", spare.name[:8])
    assert (code, "--no-spare" in said) == (1, True)
    said = installation.admin("recipient", "remove", spare.name[:8], "--no-spare")
    assert "a copy of the file from before can still open" in said
    assert spare.recipient not in installation.sealed().recipients
    assert spare.name not in str(committed(line)[-1]["recipients"])
    code, said = installation.refused("recipient", "try", *spare.at_hand)
    assert (code, "not sealed to this key" in said) == (3, True)
    assert "ONE TOKEN ALONE" in installation.admin("check-config")
    # The honest word: the file from before opens, and check-config says that it is back.
    shutil.copy(copy, installation.sealed_file)
    installation.admin("recipient", "try", *spare.at_hand)
    code, said = installation.refused("check-config")
    assert (code, f"{spare.name} opens, and the ledger does not name it" in said) == (3, True)
    line.verify()


def test_what_is_not_removed(line: HostileLine, installation: SealedInstallation, spare: SpareToken) -> None:
    installation.admin("recipient", "add", spare.public_key)
    entries, file = len(committed(line)), installation.sealed_file.read_bytes()
    own = installation.sealed().recipients[0].spki_sha256().hex()
    for key, said in (
        ("0000000", "at least 8 digits"),
        ("00000000", "not_found"),
        (own, "this token has to stay"),
    ):
        code, found = installation.refused("recipient", "remove", key, "--no-spare")
        assert (code, said in found) == (1, True)
    assert (len(committed(line)), installation.sealed_file.read_bytes()) == (entries, file)


class PowerCut(BaseException):
    """Nothing runs after it."""


def dies_after_the_entry(
    installation: SealedInstallation, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """The command itself, up to its last write."""

    def change(*arguments: str | Path) -> None:
        def cut(*_: object) -> None:
            raise PowerCut

        with monkeypatch.context() as patched:
            patched.setattr("signerd.adapters.recipients.durable_files.replace", cut)
            app = build_app(lambda *_: None)
            with pytest.raises(PowerCut):
                app(
                    [str(each) for each in (*arguments, "--config", installation.config)],
                    standalone_mode=False,
                )

    return change


def test_a_crash_between_entry_and_file_while_one_is_added(
    line: HostileLine,
    installation: SealedInstallation,
    spare: SpareToken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = installation.sealed_file.read_bytes()
    dies_after_the_entry(installation, monkeypatch)("recipient", "add", spare.public_key)
    entries = committed(line)
    assert spare.name in str(entries[-1]["recipients"])
    assert installation.sealed_file.read_bytes() == file
    code, said = installation.refused("check-config")
    assert (code, f"{spare.name} announced, and nothing is sealed to it" in said) == (3, True)
    # signerd starts all the same, and the same command goes on from there.
    installation.process.stop()
    installation.start_signerd()
    line.reconnect()
    installation.admin("recipient", "add", spare.public_key)
    assert committed(line) == entries
    installation.admin("recipient", "try", *spare.at_hand)
    assert "sealed to 2 tokens" in installation.admin("check-config")


def test_a_crash_between_entry_and_file_while_one_is_removed(
    line: HostileLine,
    installation: SealedInstallation,
    spare: SpareToken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.admin("recipient", "add", spare.public_key)
    dies_after_the_entry(installation, monkeypatch)("recipient", "remove", spare.name, "--no-spare")
    entries = committed(line)
    code, said = installation.refused("check-config")
    assert (code, f"{spare.name} opens, and the ledger does not name it" in said) == (3, True)
    installation.admin("recipient", "remove", spare.name, "--no-spare")
    assert committed(line) == entries
    assert spare.recipient not in installation.sealed().recipients
    line.verify()


def test_one_change_at_a_time(installation: SealedInstallation, spare: SpareToken) -> None:
    with alone(installation.sealed_file, "change"):
        code, said = installation.refused("recipient", "add", spare.public_key)
    assert (code, "another change of the recipients is under way" in said) == (75, True)


def test_without_signerd_nothing_is_announced_and_nothing_changes(
    line: HostileLine, installation: SealedInstallation, spare: SpareToken
) -> None:
    file = installation.sealed_file.read_bytes()
    installation.process.stop()
    try:
        assert installation.refused("recipient", "add", spare.public_key)[0] == 4
        assert installation.sealed_file.read_bytes() == file
        assert len(listed(installation)) == 1
    finally:
        installation.start_signerd()
        line.reconnect()


def test_a_secret_that_is_not_this_installations_is_sealed_to_nobody(
    line: HostileLine, installation: SealedInstallation, spare: SpareToken
) -> None:
    """What somebody else sealed to the same token is not handed on under the ledger's name."""
    entries, own = len(committed(line)), installation.sealed()
    foreign = seal(own.origin, {KeyRole.CHIP_MASTER: bytes(32)}, own.recipients)
    installation.sealed_file.write_bytes(replace(own, secrets={**own.secrets, **foreign.secrets}).encode())
    try:
        code, said = installation.refused("recipient", "add", spare.public_key)
        assert (code, "is not this installation's" in said) == (3, True)
        assert len(committed(line)) == entries
    finally:
        installation.sealed_file.write_bytes(own.encode())


def test_a_rejected_pin_is_not_tried_again(
    installation: SealedInstallation, spare: SpareToken, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.pin"
    wrong.write_bytes(b"not-the-pin")
    wrong.chmod(0o400)
    options: list[str | Path] = ["recipient", "add", spare.public_key, "--pin", f"file:{wrong}"]
    assert installation.refused(*options)[0] == 77
    code, said = installation.refused(*options)
    assert (code, "it is not tried again" in said) == (77, True)
    config = load(installation.config)
    parts = recipients.read_parts(config, database_url(config, installation.home), config.ledger.head)
    pin = read_pin(config.hsm.pin, installation.home)
    assert recipients.opened_by(config, parts, pin).own in parts[0].recipients


def test_where_nothing_is_sealed_there_are_no_recipients(
    spare: SpareToken, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Installation(tmp_path_factory.mktemp("token") / "line") as plain:
        refused: Sequence[tuple[str, ...]] = (("list",), ("add", str(spare.public_key)), ("try",))
        for words in refused:
            code, said = SealedInstallation.refused(plain, "recipient", *words)  # type: ignore[arg-type]
            assert (code, "nothing is sealed" in said) == (3, True)
