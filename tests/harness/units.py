"""Units of systemd on a machine without it: what it does at their start and stop, as far as files, users and
credentials go.

    units = Units(machine, logs)
    units.start("signerd-key-holder")       # reads /etc/systemd/system, with drop-ins
    units.stop("signerd-key-holder")

The sandbox is not made: `systemd-analyze security` and `tests/integration/deploy/test_units.py` look at that.
"""

from __future__ import annotations

import shlex
import socket
from contextlib import ExitStack
from pathlib import Path

from harness.machine_with_users import MachineWithUsers
from harness.process import Program, run, wait_until

_FOLDERS = {"ConfigurationDirectory": "/etc", "StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}


class Unit:
    """The `[Service]` of a unit, with its drop-ins. An empty assignment takes away what stood before."""

    def __init__(self, *texts: str) -> None:
        self._values: dict[str, list[str]] = {}
        for line in "\n".join(texts).splitlines():
            name, equals, value = line.partition("=")
            if not equals or line.startswith("#"):
                continue
            known = self._values.setdefault(name, [])
            known.append(value) if value else known.clear()

    def all(self, name: str) -> list[str]:
        """Every value of a directive."""
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        """The last value."""
        return self.all(name)[-1]


class Units:
    """What runs ends with the context."""

    def __init__(self, machine: MachineWithUsers, logs: Path) -> None:
        self._machine = machine
        self._logs = logs
        self._running: dict[str, Program] = {}
        self._stack = ExitStack()

    def start(self, name: str) -> Program:
        """`systemctl start`: returns when it says READY (sd_notify(3)). Raises ProgramError: it ends before,
        or a credential is not there."""
        unit = self._unit(name)
        user = unit.one("User")
        for kind, above in _FOLDERS.items():
            for folder in " ".join(unit.all(kind)).split():
                self._folder(f"{above}/{folder}", user, unit.one(f"{kind}Mode"))
        environment = {
            "CREDENTIALS_DIRECTORY": self._credentials(name, unit, user),
            "NOTIFY_SOCKET": f"/run/notify-{name}",
        }
        command = shlex.split(unit.one("ExecStart"))
        inside = self._machine.command(*command, user=user, environment=environment)
        with self._told(name) as told:
            program = Program(inside, log=self._logs / name)
            self._running[name] = self._stack.enter_context(program)
            wait_until(lambda: _ready(told), f"{name} to serve", program=program)
        return program

    def stop(self, name: str) -> int:
        """`systemctl stop`: its exit code. What the runtime directory held is gone."""
        code = self._running.pop(name).stop()
        for folder in self._unit(name).all("RuntimeDirectory"):
            self._machine.run(f"rm -rf /run/{folder}")
        return code

    def __getitem__(self, name: str) -> Program:
        return self._running[name]

    def close(self) -> None:
        """Ends all."""
        self._stack.close()

    def _told(self, name: str) -> socket.socket:
        path = self._machine.path(f"/run/notify-{name}")
        path.unlink(missing_ok=True)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.setblocking(False)
        told.bind(str(path))
        path.chmod(0o777)
        return told

    def _unit(self, name: str) -> Unit:
        folder = self._machine.path("/etc/systemd/system")
        drop_ins = sorted((folder / f"{name}.service.d").glob("*.conf"))
        return Unit(*(path.read_text("utf-8") for path in (folder / f"{name}.service", *drop_ins)))

    def _folder(self, path: str, user: str, mode: str) -> None:
        """As systemd.exec(5) says: what there is changes hands where its owner is another one."""
        self._machine.run(
            f"mkdir -p {path}; chmod {mode} {path};"
            f" [ $(stat -c %U {path}) = {user} ] || chown -R {user}:{user} {path}"
        )

    def _credentials(self, name: str, unit: Unit, user: str) -> str:
        folder = f"/run/credentials/{name}.service"
        self._machine.run(f"rm -rf {folder}; mkdir -p {folder}")
        for said in unit.all("LoadCredential"):
            credential, _, source = said.partition(":")
            self._machine.run(f"cp {source} {folder}/{credential}")
        for said in unit.all("LoadCredentialEncrypted"):
            credential, _, source = said.partition(":")
            run(
                self._machine.command(
                    "systemd-creds", "decrypt", f"--name={credential}", source, f"{folder}/{credential}"
                )
            )
        self._machine.run(f"chown -R {user} {folder}; chmod -R u=rX,go= {folder}")
        return folder


def _ready(told: socket.socket) -> bool:
    try:
        return b"READY=1" in told.recv(4096)
    except BlockingIOError:
        return False
