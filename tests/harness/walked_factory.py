"""A factory on a machine of its own, installed as docs/operations.md says, whose key holder became a service
by the lines of docs/key-holder.md as they are printed.

    with WalkedFactory() as factory:
        factory.walk()
        factory.machine.run("signerd key-holder status", user="signerd-key")
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import ClassVar

from harness.documented import DocumentedInstallation
from harness.held_factory import ADMINISTRATORS, NOT_APPROVED, HeldFactory
from harness.installation import DEPLOYMENT
from harness.machine_with_users import MachineWithUsers
from harness.process import REPOSITORY, Program, or_ended, run
from harness.ssh_signing import SshSigner
from harness.units import Units
from signerd.adapters.installation import softhsm
from signerd.core.approval.administrators import namespace_of

PAGE = (REPOSITORY / "docs" / "key-holder.md").read_text("utf-8")
PIN = "123456"
SIGNERD, SERVICE = "signerd", "signerd-key-holder"
_ASKED = re.compile(r'systemd-ask-password -n "[^"]*"')
_SYSTEMCTL = re.compile(r"systemctl (\S+) ?(--now )?(.*)")


def printed(section: str, language: str) -> list[list[str]]:
    """The lines of each block of the page's section."""
    part = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```$", part, re.DOTALL | re.MULTILINE)
    return [[line.strip() for line in block.splitlines()] for block in blocks]


class MachineInstallation(DocumentedInstallation):
    """Its commands are given on the machine, as signerd's user."""

    units_by: ClassVar[type[Units]] = Units

    def __init__(self, machine: MachineWithUsers) -> None:
        self.machine = machine
        self.with_token: tuple[str, ...] = ("--pin", "file:/srv/pin")
        self.with_token_user: str | None = SIGNERD
        # Of one name on the machine and outside.
        self._floor = TemporaryDirectory(prefix="bm-", dir=self._shared())
        floor = Path(self._floor.name)
        floor.chmod(0o1777)
        super().__init__(floor, server_name="localhost", signerd=())
        self.units = self.units_by(machine, self.logs)

    def _make(self) -> None:
        self.home = self.machine.path("/etc/signerd")
        self.config = self.home / "signerd.toml"
        self._put_signerd()
        self._as_signerd(f"softhsm2-util --init-token --free --label line --pin {PIN} --so-pin {PIN}")
        init = f"printf {PIN} | signerd init /etc/signerd"
        self._as_signerd(
            f"{init} --module {softhsm.find_module()} --token line --pin fd:0 --deployment {DEPLOYMENT}"
            " --server-name localhost --listen 127.0.0.1:0"
        )
        self._edit()
        for path in self.signed_offline(self.home / "ca" / "sub-ca.csr.pem"):
            self.readable(path)
        offline = self.directory / "offline"
        self._as_signerd(f"{init} --install-certificate {offline}/sub-ca.pem --root {offline}/root.pem")
        self._keep_pin()

    def _shared(self) -> Path | None:
        """A folder that is on the machine and outside, if not every one is."""
        return None

    def _put_signerd(self) -> None:
        """Before step 1: the user, its folders, the unit."""
        for line in (
            "adduser --system --group --no-create-home --home /nonexistent signerd",
            "adduser signerd softhsm",
            "install -d -o signerd -g signerd -m 0700 /etc/signerd",
            "install -d -o signerd -g signerd -m 0700 /var/lib/signerd /var/lib/signerd-head /run/signerd",
            "cp deploy/systemd/signerd.service /etc/systemd/system/",
        ):
            self.machine.run(line)

    def _as_signerd(self, line: str) -> str:
        return self.machine.run(self.machine.inside(line), user=SIGNERD)

    def _edit(self) -> None:
        """Step 4."""
        text = self.config.read_text("utf-8")
        for old, new in (
            ('"signerd.port"', '"/run/signerd/port"'),
            ('"admin/admin.sock"', '"/run/signerd/admin.sock"'),
            ('[metrics]\nlisten = "127.0.0.1:9464"\n', ""),  # one port a machine, and tests run side by side
            ('"sqlite:///signerd.sqlite"', '"sqlite:////var/lib/signerd/signerd.sqlite"'),
            ('"head/checkpoint"', '"/var/lib/signerd-head/checkpoint"'),
        ):
            assert old in text, old
            text = text.replace(old, new)
        self.config.write_text(text, "utf-8")

    def _keep_pin(self) -> None:
        """Step 6: where the unit takes it from; and for commands."""
        self.machine.run(f"printf {PIN} | install -o signerd -m 0400 /dev/stdin /srv/pin")
        self.config.write_text(
            self.config.read_text("utf-8").replace('"fd:0"', '"credential:hsm-pin"'), "utf-8"
        )
        unit = (REPOSITORY / "deploy" / "systemd" / "signerd.service").read_text("utf-8")
        if "\nLoadCredentialEncrypted=hsm-pin:" in unit:
            encrypt = "systemd-creds encrypt --name=hsm-pin --with-key=host -"
            self.machine.run(f"printf {PIN} | {encrypt} /etc/signerd/hsm.pin.cred")
        else:
            self.machine.run(f"printf {PIN} | install -o signerd -m 0400 /dev/stdin /etc/signerd/hsm.pin")

    @property
    def target(self) -> str:
        return f"localhost:{int(self.port_file.read_text('ascii'))}"

    @property
    def port_file(self) -> Path:
        return self.machine.path("/run/signerd/port")

    @property
    def process(self) -> Program:
        return self.units[SIGNERD]

    def start_signerd(self, environment: Mapping[str, str] | None = None) -> Program:
        assert environment is None, "units have their own"
        program = self.units.start(SIGNERD)
        self._keep_port()
        return program

    def admin(self, *arguments: str | Path, expect: int = 0, user: str | None = SIGNERD) -> str:
        """As signerd's user by default; files that it is given are made readable."""
        for path in arguments:
            if isinstance(path, Path) and path.is_file():
                self.readable(path)
        if arguments[:2] == ("chips", "personalize"):
            arguments, user = (*arguments, *self.with_token), self.with_token_user
        command = ("signerd", *arguments, "--config", self.config)
        return run(self.machine.command(*command, user=user), expect=expect)

    def move_to(self, machine: MachineWithUsers) -> None:
        """From here on commands and units are another machine's. What ran here must be stopped."""
        self.units.close()
        self.machine = machine
        self.home = machine.path("/etc/signerd")
        self.config = self.home / "signerd.toml"
        self.units = Units(machine, self.logs)

    def readable(self, path: Path) -> None:
        """For all users of the machine."""
        path.parent.chmod(0o1777)
        path.chmod(0o644)

    def __exit__(self, *_: object) -> None:
        self.units.close()
        self._programs.close()
        self._floor.cleanup()


class WalkedFactory(HeldFactory):
    """`WORK_ORDER` was opened before, and counts as approved. Two of three administrators approve."""

    installed_by: ClassVar[type[MachineInstallation]] = MachineInstallation

    def __init__(self, machine: MachineWithUsers | None = None) -> None:
        self.machine = (machine or MachineWithUsers()).__enter__()
        try:
            self._install()
        except BaseException:
            self.machine.__exit__(None, None, None)
            raise

    def _install(self) -> None:
        self.signers = {name: SshSigner.ed25519() for name in ADMINISTRATORS}
        self.installation: MachineInstallation = self.installed_by(self.machine)
        self.service_socket = self.machine.path("/run/signerd-key/socket")
        with or_ended(lambda: self.installation.__exit__(None, None, None)):
            self._fill_walked()

    def _fill_walked(self) -> None:
        """signerd, what a line needs, and administrators who are asked."""
        self.installation.start_signerd()
        self._fill()
        lines = (f"{name} {signer.public_text}\n" for name, signer in self.signers.items())
        (self.installation.home / "administrators").write_text("".join(lines), "utf-8")
        asked = '\n[approvals]\nthreshold = 2\nadministrators = "administrators"\n'
        config = self.installation.config
        config.write_text(config.read_text("utf-8") + asked, "utf-8")

    def walk(self) -> None:
        """The lines of "Setting it up", in their order."""
        for block in printed("Setting it up", "sh"):
            for line in block:
                self.give(line)

    def lost(self) -> MachineWithUsers:
        """The first machine is destroyed, and there is an empty one."""
        first, self.machine = self.machine, MachineWithUsers().__enter__()
        self.installation.move_to(self.machine)
        self.service_socket = self.machine.path("/run/signerd-key/socket")
        first.__exit__(None, None, None)
        return self.machine

    def give(self, line: str) -> str:
        """A line that is printed, as root, or as the user that it says. Somebody types the PIN, and a machine
        without a TPM has a key of its own."""
        line = _ASKED.sub(f"printf {PIN}", line).replace("host+tpm2", "host")
        if said := _SYSTEMCTL.match(line):
            return self._systemctl(said[1], said[3].split())
        if said := re.match(r"sudo -u (\S+) (.*)", line):
            return self.machine.run(said[2], user=said[1])
        return self.machine.run(line)

    def _systemctl(self, what: str, names: list[str]) -> str:
        for name in names:
            if what == "stop":
                self.installation.units.stop(name)
            elif name == SIGNERD:
                self.installation.start_signerd()
            else:
                self.installation.units.start(name)
        return ""

    def refused(self, line: str, code: int, *, user: str | None = None) -> str:
        """What a command said that ended so, on both streams."""
        return self.machine.run(f"({line}) 2>&1", user=user, expect=code)

    def personalized(self, *chips: str) -> None:
        """By root, who has the service's settings; two administrators approve."""
        floor = self.installation.directory
        (floor / "more.txt").write_text("".join(f"{chip}\n" for chip in chips), "ascii")
        command = "signerd chips personalize more.txt --site lab -c /etc/signerd/signerd.toml"
        self.refused(f"cd {floor}; {command} --out more.csv --request more.approval", NOT_APPROVED)
        text = (floor / "more.approval").read_bytes()
        given = []
        for name in ADMINISTRATORS[:2]:
            (floor / f"more.{name}").write_bytes(self.signers[name].sign(text, namespace_of(DEPLOYMENT)))
            given.append(f"--signature more.{name}")
        approved = f"{command} --pin fd:0 --out more.csv --approval more.approval {' '.join(given)}"
        self.machine.run(f"cd {floor}; printf {PIN} | {approved}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.installation.__exit__(kind, error, trace)
        self.machine.__exit__(kind, error, trace)
