"""`signerd ca`: what is refused before anything changes, what a cut leaves, and what a start says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge import Edge
from harness.further_issuers import signed_by_own_root
from harness.installation import Installation
from harness.process import ProgramError
from harness.signerd_commands import change, signerd
from signerd.adapters.keyholder.pool import rejected_pins
from signerd.config import load

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("ca")) as edge:
        edge.start()
        yield edge


def listed(installation: Installation) -> dict[str, str]:
    found = json.loads(installation.admin("ca", "list", "--json"))
    return {each["name"]: each["state"] if each["not_after"] else "unknown" for each in found}


def test_what_means_nothing(running: Edge) -> None:
    installation = running.installation
    root = installation.home / "root" / "root.pem"
    for arguments, code, said in (
        (("request", "no/name"), 2, "1 to 64 of"),
        (("request", "other", "--hsm-env", "A=B"), 2, "go with --token"),
        (("request", "other", "--pin", "prompt"), 3, '"prompt" needs a terminal'),
        (("request", "other", "--token", "second"), 2, "--pin"),
        (("request", "other", "--key-type", "p521"), 2, "p256 or p384"),
        (("request", "main"), 3, "have an issuer main"),
        (("request", "other", "--ca-key", "nothing"), 3, "the token holds no key of this name"),
        (("add", "other", "--certificate", root, "--root", root), 3, "there is no request"),
        (("add", "other", "--certificate", root, "--root", root, "--same-key-as", "x"), 3, "no issuer x"),
        (("activate", "other"), 1, "no issuer 'other'"),
        (("retire", "main"), 1, "main is active"),
    ):
        found, text = signerd(installation, "ca", *arguments)
        assert (found, said in " ".join(text.split())) == (code, True), (arguments, text)
    assert not list((installation.home / "ca").glob("issuer-*"))
    assert listed(installation) == {"main": "active"}


def test_an_add_that_was_cut_short(running: Edge, tmp_path: Path) -> None:
    """After the announcement, before the settings: signerd goes on, and the same command ends it."""
    installation = running.installation
    before = installation.config.read_text("utf-8")
    request = Path(json.loads(installation.admin("ca", "request", "cut", "--json"))["request"])
    made = signed_by_own_root(installation, request, tmp_path / "cut.pem")
    root = installation.home / "root" / "root.pem"
    add = ("ca", "add", "cut", "--certificate", made, "--root", root)
    index = json.loads(installation.admin(*add, "--json"))["ledger_index"]
    installation.config.write_text(before, encoding="utf-8")
    for file in ("issuer-cut.pem", "issuer-cut.root.pem"):
        (installation.home / "ca" / file).unlink()
    assert listed(installation)["cut"] == "unknown"
    assert "cut: standby, NOT IN THE SETTINGS" in installation.admin("check-config")
    installation.process.stop()
    installation.start_signerd()
    assert json.loads(installation.admin(*add, "--json"))["ledger_index"] == index
    assert sum(entry["type"] == "issuer_added" for entry in running.entries()) == 1
    assert installation.config.read_text("utf-8").startswith(before)
    installation.process.stop()
    installation.start_signerd()
    assert listed(installation) == {"main": "active", "cut": "standby"}


def test_a_certificate_of_another_key(running: Edge) -> None:
    installation = running.installation
    installation.admin("ca", "request", "foreign")
    sub_ca, root = installation.home / "ca" / "sub-ca.pem", installation.home / "root" / "root.pem"
    code, said = signerd(installation, "ca", "add", "foreign", "--certificate", sub_ca, "--root", root)
    assert (code, "its key is not the one in the token" in said) == (3, True)
    assert "foreign" not in listed(installation)


def test_settings_that_lack_the_active_issuer_or_give_it_another_name(fresh: Installation) -> None:
    """At the desk: a start would serve nobody."""
    change(fresh, "[authority]\n", '[authority]\nname = "other"\n')
    code, said = signerd(fresh, "check-config")
    assert (code, "is issuer main of the ledger, not other" in " ".join(said.split())) == (3, True)
    with pytest.raises(ProgramError):
        fresh.start_signerd()


def test_a_pin_that_was_rejected_is_not_tried_by_an_add(running: Edge, tmp_path: Path) -> None:
    """As by every other start of a key holder."""
    installation = running.installation
    request = Path(json.loads(installation.admin("ca", "request", "pin", "--json"))["request"])
    made = signed_by_own_root(installation, request, tmp_path / "pin.pem")
    root = installation.home / "root" / "root.pem"
    wrong = tmp_path / "wrong-pin"
    wrong.write_text("not-the-pin", encoding="ascii")
    wrong.chmod(0o400)
    token = installation.home / "ca" / "issuer-pin.token.toml"
    lines = [line for line in token.read_text("utf-8").splitlines() if not line.startswith("pin =")]
    token.write_text("\n".join([*lines, f'pin = "file:{wrong}"', ""]), encoding="utf-8")
    rejected_pins(load(installation.config)).add(b"not-the-pin")
    code, said = signerd(installation, "ca", "add", "pin", "--certificate", made, "--root", root)
    assert (code, "not tried again" in said) == (77, True)
    assert "pin" not in listed(installation)


def test_where_the_pin_is_a_credential_a_command_is_given_it(fresh: Installation, tmp_path: Path) -> None:
    """systemd hands it to the service alone. What the settings say of it stays."""
    pin, root = f"file:{fresh.home / 'hsm.pin'}", fresh.home / "root" / "root.pem"
    change(fresh, 'pin = "file:hsm.pin"', 'pin = "credential:hsm-pin"')
    for words in (("ca", "request", "second"), ("check-config", "--login")):
        code, said = signerd(fresh, *words)
        assert (code, "a command takes --pin prompt" in said) == (3, True), said
    assert signerd(fresh, "check-config", "--login", "--pin", pin)[0] == 0
    assert signerd(fresh, "check-config", "--pin", pin)[0] == 2
    request = Path(json.loads(fresh.admin("ca", "request", "second", "--pin", pin, "--json"))["request"])
    made = signed_by_own_root(fresh, request, tmp_path / "second.pem")
    add = ("ca", "add", "second", "--certificate", made, "--root", root)
    code, said = signerd(fresh, *add)
    assert (code, "a command takes --pin prompt" in said) == (3, True), said
    # Without signerd it goes no further than the announcement: the token has proved its key.
    assert signerd(fresh, *add, "--pin", pin)[0] == 4
    assert "credential:hsm-pin" in (fresh.home / "ca" / "issuer-second.token.toml").read_text("utf-8")
