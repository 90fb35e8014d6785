"""docs/operations.md, "signerd with a real HSM", as a new operator walks it: from a machine that has neither
the user nor its folders to a signerd that serves. The HSM is SoftHSM, by deploy/hsm/softhsm.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.documented import signed_offline
from harness.own_machine import OwnMachine, no_own_machine
from harness.process import REPOSITORY, wait_until
from signerd.adapters.installation.softhsm import find_module
from tokens import presence

pytestmark = pytest.mark.check

PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
PART = PAGE.partition("\n## signerd with a real HSM\n")[2].partition("\n### ")[0]
SOFTHSM = (REPOSITORY / "deploy" / "hsm" / "softhsm.md").read_text("utf-8")
EXAMPLE = (REPOSITORY / "deploy" / "examples" / "signerd.toml").read_text("utf-8")
PIN = "271828\n"
USER = "signerd"
CREDENTIALS = "/run/credentials/signerd.service"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OwnMachine]:
    presence.skip(no_own_machine())
    with OwnMachine(tmp_path / "machine") as machine:
        yield machine


def printed(text: str, begin: str) -> str:
    """The one command that a page prints and that begins so, with the lines that it goes on in."""
    text = re.sub(r" *\\\n *", " ", text)
    (found,) = {line.strip() for line in text.splitlines() if line.strip().startswith(begin)}
    return found.partition("  #")[0].rstrip()


def settled(file: Path) -> None:
    """Step 4, with what the example says: places that the service may write."""
    text = file.read_text("utf-8")
    for name in ("url", "head", "socket"):
        (line,) = re.findall(rf"^{name} = .*$", EXAMPLE, re.MULTILINE)
        text = re.sub(rf"^{name} = .*$", line, text, flags=re.MULTILINE)
    text = re.sub(r"\[metrics\]\nlisten = .*\n", "", text)  # other tests have this port
    file.write_text(re.sub(r"^port_file = .*\n", "", text, flags=re.MULTILINE), "utf-8")


def test_from_a_new_user_to_a_signerd_that_serves(machine: OwnMachine, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)
    machine.root(block)
    machine.root("install -d -o root -g softhsm -m 2770 /var/lib/softhsm/tokens")  # Debian's package does it
    machine.root(printed(SOFTHSM, "adduser signerd softhsm"))
    make = printed(SOFTHSM, "sudo -u signerd softhsm2-util").removeprefix("sudo -u signerd ")
    label = make.rpartition(" ")[2]
    machine.user(USER, f"{make} --pin {PIN.strip()} --so-pin 314159")

    init = printed(PART, "signerd init /etc/signerd --module")
    for old, new in (
        ("/usr/lib/vendor-pkcs11.so", str(find_module())),
        ("--token birthmark", f"--token {label}"),
        ("--pin prompt", "--pin fd:0 --listen 127.0.0.1:0"),
    ):
        assert old in init
        init = init.replace(old, new)
    assert "sub-ca.csr.pem" in machine.user(USER, init, typed=PIN)
    home = machine.folder / "etc" / "signerd"
    for file in signed_offline(tmp_path / "offline", home / "ca" / "sub-ca.csr.pem"):
        (machine.folder / "lib" / USER / file.name).write_bytes(file.read_bytes())
    settled(home / "signerd.toml")
    finish = printed(PART, "signerd init /etc/signerd --install-certificate")
    machine.root(f"cd /var/lib/signerd && runuser -u {USER} -- {finish}", typed=PIN)

    settings = (home / "signerd.toml").read_text("utf-8")
    (home / "signerd.toml").write_text(settings.replace('"fd:0"', '"credential:hsm-pin"'), "utf-8")
    check = printed(PART, "signerd check-config -c")
    said = machine.user(USER, check.replace("prompt", "fd:0"), typed=PIN)
    assert "ok     login to the token" in said
    said = machine.user(USER, check.replace(" --pin prompt", ""), expect=3)
    assert "a command takes --pin prompt" in said

    # What systemd does for the unit.
    machine.root(f"install -d -o {USER} -g {USER} -m 0700 /run/signerd {CREDENTIALS}")
    machine.root(f"install -o {USER} -m 0400 /dev/stdin {CREDENTIALS}/hsm-pin", typed=PIN)
    unit = (machine.folder / "etc" / "systemd" / "system" / "signerd.service").read_text("utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    machine.start(USER, f"env CREDENTIALS_DIRECTORY={CREDENTIALS} {start}", tmp_path / "log")
    wait_until((machine.folder / "run" / "signerd" / "admin.sock").exists, "signerd's socket")
    wait_until(lambda: "main" in answered(machine, "signerd ca list"), "signerd")
    # Further commands that need the token, of somebody who has no credential.
    said = machine.user(USER, "signerd ca request main-2034 --pin fd:0", typed=PIN)
    assert "issuer-main-2034.csr.pem" in said
    assert "credential:hsm-pin" in (home / "ca" / "issuer-main-2034.token.toml").read_text("utf-8")


def answered(machine: OwnMachine, command: str) -> str:
    """What it says, once it ends well."""
    try:
        return machine.user(USER, command)
    except AssertionError:
        return ""
