"""Approvals by commands, with the genuine ssh-keygen: docs/approvals.md as it is printed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.audited import Audited
from harness.further_issuers import signed_by_own_root
from harness.installation import DEPLOYMENT, SENSOR, order_toml
from harness.process import COMMANDS, REPOSITORY
from harness.sealed_installation import SealedInstallation, SpareToken
from tokens import presence

pytestmark = pytest.mark.check

PAGE = (REPOSITORY / "docs" / "approvals.md").read_text("utf-8")
NOT_APPROVED = 5


class Desk(Audited):
    """An installation whose secrets are sealed, and a shell in its folder."""

    def __init__(self, directory: Path) -> None:
        self.installation: SealedInstallation = SealedInstallation(directory)
        self.home = self.installation.home
        self.signerd = self.installation.start_signerd()
        self.station = self.installation.add_station("plant1", "pc1")
        self.auditor = self.installation.add_auditor("customer")
        self.installation.add_product(SENSOR)

    def shell(self, commands: str, *, expect: int = 0) -> str:
        """As somebody types them into a shell in signerd's folder."""
        path = f"{COMMANDS}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-e", "-c", commands.replace("@acme", f"@{DEPLOYMENT}")],
            cwd=self.home,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, (commands, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def restart(self) -> None:
        self.installation.process.stop()
        self.installation.start_signerd()

    def write_order(self, name: str = "order.toml", order: str = "WO-2026-117", quantity: int = 5) -> None:
        text = order_toml(
            order, stations=[self.station.uri], quantity=quantity, serial_pattern=f"{order}-{{number}}"
        )
        (self.home / name).write_text(text, "utf-8")


def blocks(part: str) -> list[str]:
    """The commands under a heading, a block each."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    if presence.program("ssh-keygen") is None:
        presence.skip("ssh-keygen is missing: apt install openssh-client")
    with Desk(tmp_path_factory.mktemp("approvals")) as desk:
        make, file = blocks("Keys of administrators")
        desk.shell(make + file)
        (line,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        config = desk.installation.config
        config.write_text(line + config.read_text("utf-8"), "utf-8")
        desk.restart()
        yield desk
        assert desk.verify()


def test_the_page_as_printed(desk: Desk) -> None:
    desk.write_order()
    prepare, read, show, names, opens = blocks("An order")
    assert "NOT DONE YET: 2 of ann, bob are to sign" in desk.shell(prepare, expect=NOT_APPROVED)
    said = desk.shell(read)
    digest = hashlib.sha256((desk.home / "order.toml").read_bytes()).hexdigest()
    assert "quantity: 5\n" in said
    assert f'inputs_sha256: ["{digest}"]' in said
    assert "if this is what is to be done" in desk.shell(show)
    desk.shell(names)
    assert "opened WO-2026-117: 5 boards" in desk.shell(opens)
    assert re.search(r"already_exists: .*WO-2026-117", desk.shell(opens, expect=1))
    (change,) = blocks("Other administrators")
    assert "2 of ann, bob, carol" in carried_out(desk, change)
    assert desk.verify()


def carried_out(desk: Desk, commands: str) -> str:
    """Commands of which those that prepare end with 5."""
    said = ""
    for command in commands.splitlines():
        said = desk.shell(command, expect=NOT_APPROVED if "--request" in command else 0)
    return said


def sign(desk: Desk, request: str, *names: str) -> str:
    """The options that hand the signatures in."""
    options = f"--approval {request}"
    for name in names:
        desk.shell(f"ssh-keygen -q -Y sign -f {name} -n birthmark-approval-v1@acme {request}")
        (desk.home / f"{request}.sig").rename(desk.home / f"{request}.{name}.sig")
        options += f" --signature {request}.{name}.sig"
    return options


def test_each_command_goes_the_same_way(desk: Desk) -> None:
    product = SENSOR.replace('"sensor"', '"other"', 1)
    (desk.home / "other.toml").write_text(product, "utf-8")
    (desk.home / "chips.txt").write_text("c-1\nc-2\n", "utf-8")
    for command, request in (
        ("signerd product add other.toml", "other.approval"),
        ("signerd chips personalize chips.txt --site lab --out keys.csv", "chips-personalize.approval"),
    ):
        said = json.loads(desk.shell(f"{command} -c signerd.toml --json", expect=NOT_APPROVED))
        assert (said["done"], said["request"], said["threshold"]) == (False, request, 2)
        assert not (desk.home / "keys.csv").exists()
        alone = desk.shell(f"{command} {sign(desk, request, 'ann')} -c signerd.toml", expect=1)
        assert "approval_invalid: 2 administrators" in alone
        assert not (desk.home / "keys.csv").exists()
        desk.shell(f"{command} {sign(desk, request, 'ann', 'bob')} -c signerd.toml")
    assert (desk.home / "keys.csv").read_text("ascii").count("\n") == 3


def issuers(desk: Desk) -> dict[str, str]:
    found = json.loads(desk.shell("signerd ca list --json -c signerd.toml"))
    return {each["name"]: each["state"] for each in found}


def test_an_issuer_from_its_request_to_its_end(desk: Desk) -> None:
    """As the page prints it, and what `activate` and `retire` ask for."""
    request = json.loads(desk.shell("signerd ca request main-2034 --json -c signerd.toml"))["request"]
    signed_by_own_root(desk.installation, Path(request), desk.home / "main-2034.pem")
    shutil.copy(desk.home / "root" / "root.pem", desk.home)
    (add,) = blocks("An issuer")
    asked, *rest = add.splitlines()
    settings = desk.installation.config.read_bytes()
    assert "2 of ann, bob" in desk.shell(asked, expect=NOT_APPROVED)
    assert (issuers(desk), desk.installation.config.read_bytes()) == ({"main": "active"}, settings)
    digest = desk.shell("openssl x509 -in main-2034.pem -outform DER | sha256sum").split()[0]
    assert f'certificate_sha256: "{digest}"' in (desk.home / "add.approval").read_text("ascii")
    desk.shell("".join(f"{line}\n" for line in rest))
    desk.restart()
    states = issuers(desk)
    for step, name, becomes in (
        ("activate", "main-2034", {"main": "standby", "main-2034": "active"}),
        ("retire", "main", {"main": "retired", "main-2034": "active"}),
    ):
        command, request = f"signerd ca {step} {name}", f"ca-{step}-{name}.approval"
        said = json.loads(desk.shell(f"{command} --json -c signerd.toml", expect=NOT_APPROVED))
        assert (said["done"], said["request"]) == (False, request)
        alone = desk.shell(f"{command} {sign(desk, request, 'bob')} -c signerd.toml", expect=1)
        assert "approval_invalid: 2 administrators" in alone
        assert issuers(desk) == states
        both = sign(desk, request, "ann", "bob")
        desk.shell(f"{command} {both} -c signerd.toml")
        assert issuers(desk) == (states := becomes)
        assert "already_exists" in desk.shell(f"{command} {both} -c signerd.toml", expect=1)
    assert desk.verify()


def test_a_recipient_as_the_page_prints_it(desk: Desk, tmp_path: Path) -> None:
    spare = SpareToken(tmp_path / "dev")
    shutil.copy(spare.public_key, desk.home / "spare.pem")
    before = desk.installation.sealed_file.read_bytes()
    (add,) = blocks("A token that opens the sealed secrets")
    asked, look, *rest = add.splitlines()
    assert "2 of ann, bob" in desk.shell(asked, expect=NOT_APPROVED)
    assert desk.installation.sealed_file.read_bytes() == before
    assert desk.shell(look).split()[0] == spare.name
    assert f'"{spare.name}"' in (desk.home / "spare.approval").read_text("ascii")
    desk.shell("".join(f"{line}\n" for line in rest))
    assert spare.recipient in desk.installation.sealed().recipients
    command, request = f"signerd recipient remove {spare.name} --no-spare", "gone.approval"
    desk.shell(f"{command} --request {request} -c signerd.toml", expect=NOT_APPROVED)
    alone = sign(desk, request, "ann")
    assert "approval_invalid" in desk.shell(f"{command} {alone} -c signerd.toml", expect=1)
    assert spare.recipient in desk.installation.sealed().recipients
    desk.shell(f"{command} {sign(desk, request, 'ann', 'bob')} -c signerd.toml")
    assert spare.recipient not in desk.installation.sealed().recipients
    desk.shell("signerd check-config -c signerd.toml")
    assert desk.verify()


def test_a_request_is_not_written_over(desk: Desk) -> None:
    desk.write_order("twice.toml", "WO-twice")
    desk.shell("signerd order open twice.toml -c signerd.toml", expect=NOT_APPROVED)
    assert "exists, and is not written over" in desk.shell(
        "signerd order open twice.toml -c signerd.toml", expect=1
    )


def test_a_changed_file_is_refused(desk: Desk) -> None:
    desk.write_order("changed.toml", "WO-changed")
    desk.shell("signerd order open changed.toml -c signerd.toml", expect=NOT_APPROVED)
    options = sign(desk, "changed.approval", "ann", "bob")
    desk.write_order("changed.toml", "WO-changed", quantity=6)
    said = desk.shell(f"signerd order open changed.toml {options} -c signerd.toml", expect=1)
    assert "approval_invalid: the command is given another file" in said
    shown = desk.shell("signerd approval show changed.approval --input changed.toml", expect=1)
    assert "but about another file" in shown


def test_what_is_shown_needs_no_installation(desk: Desk, tmp_path: Path) -> None:
    desk.write_order("far.toml", "WO-far")
    desk.shell("signerd order open far.toml -c signerd.toml", expect=NOT_APPROVED)
    shutil.copy(desk.home / "far.approval", tmp_path)
    shown = json.loads(desk.shell(f"cd {tmp_path} && signerd approval show far.approval --json"))
    assert shown["action"] == "order_opened"
    assert shown["entries"][0]["work_order"] == "WO-far"
    (tmp_path / "far.approval").write_bytes((tmp_path / "far.approval").read_bytes() + b"\n")
    said = desk.shell(f"cd {tmp_path} && signerd approval show far.approval", expect=1)
    assert "no request for approval, or was changed" in said


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("ann ssh-ed25519 AAAA\n", "line 1: the key"),
        ("", "a threshold of 2, where there are 0 administrators"),
        (None, "cannot read"),
    ],
)
def test_settings_that_nobody_could_approve_with(desk: Desk, file: str | None, said: str) -> None:
    place, before = desk.home / "administrators", (desk.home / "administrators").read_text("utf-8")
    try:
        place.unlink()
        if file is not None:
            place.write_text(file, "utf-8")
        told = desk.shell("signerd check-config -c signerd.toml", expect=3)
        assert said in told
    finally:
        place.write_text(before, "utf-8")


def test_options_that_do_not_go_together(desk: Desk) -> None:
    desk.write_order("odd.toml", "WO-odd")
    desk.shell("signerd order open odd.toml --approval odd.toml -c signerd.toml", expect=2)
    desk.shell("signerd order open odd.toml --signature odd.toml -c signerd.toml", expect=2)
    desk.shell("signerd approval administrators administrators -c signerd.toml", expect=2)


def test_who_is_asked_is_shown_for_openssh(desk: Desk) -> None:
    said = desk.shell("signerd approval administrators -c signerd.toml")
    (desk.home / "allowed").write_text(said, "utf-8")
    desk.write_order("verified.toml", "WO-verified")
    desk.shell("signerd order open verified.toml -c signerd.toml", expect=NOT_APPROVED)
    sign(desk, "verified.approval", "ann")
    desk.shell(
        "ssh-keygen -Y verify -f allowed -I ann -n birthmark-approval-v1@acme"
        " -s verified.approval.ann.sig < verified.approval"
    )
    keys = json.loads(desk.shell("signerd approval administrators --json -c signerd.toml"))["keys"]
    assert {key["administrator"] for key in keys} >= {"ann", "bob"}
