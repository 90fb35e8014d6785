"""A factory whose signerd is a container, as docs/operations.md, "In a container", prints it.

with ContainerFactory() as factory:
    factory.walk_key_holder()
    factory.engine.give("podman exec signerd signerd calendar")
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from harness.containers import Engine, shell_lines
from harness.documented import DocumentedInstallation
from harness.factory import Factory
from harness.installation import DEPLOYMENT
from harness.process import REPOSITORY, or_ended, wait_until

PIN = "123456"
_DOCS = REPOSITORY / "docs"
_TOKENS = "-v /srv/tokens:/var/lib/softhsm/tokens"
_ASKED = 'systemd-ask-password -n "PIN of the HSM token:"'
_MODULE = "/usr/lib/softhsm/libsofthsm2.so"


class ContainerInstallation(DocumentedInstallation):
    """Its desk is `podman exec`. `floor` has one name in the container and outside."""

    def __init__(self, engine: Engine, floor: Path) -> None:
        self.engine = engine
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.published = {"-p 8443:8443": f"-p 127.0.0.1:{self._port}:8443"}
        floor.chmod(0o1777)
        super().__init__(floor, server_name="localhost")

    @property
    def target(self) -> str:
        return f"localhost:{self._port}"

    def _make(self) -> None:
        build, *lines = shell_lines(_DOCS / "operations.md", "In a container")
        signed = next(number for number, line in enumerate(lines) if "--install-certificate" in line)
        self.engine.base()
        self.engine.build(build)
        self.engine.give("install -d -o 10001 -g 10001 -m 0700 /srv/tokens")
        volume = f"{_TOKENS} -v {self.directory}:{self.directory}"
        self._walk(
            lines[:signed],
            {
                _ASKED: f"printf {PIN}",
                'signerd-head"': f'signerd-head {volume}"',
                "/usr/lib/vendor-pkcs11.so": _MODULE,
                "--deployment example": f"--deployment {DEPLOYMENT}",
                "signer.example.com": self.server_name,
            },
        )
        self.home = self.engine.path("/srv/signerd")
        self.config = self.home / "signerd.toml"
        for path in self.signed_offline(self.home / "ca" / "sub-ca.csr.pem"):
            (self.home / path.name).write_bytes(path.read_bytes())
        self._walk(lines[signed:], self.published)

    def _walk(self, lines: list[str], instead: Mapping[str, str]) -> None:
        for line in lines:
            here = {old: new for old, new in instead.items() if old in line}
            self.engine.walk([line], here)
            if line.startswith("pin="):
                token = f"--init-token --free --label birthmark --pin {PIN} --so-pin {PIN}"
                self.engine.give(
                    f"podman run --rm $closed $volumes --entrypoint softhsm2-util signerd {token}"
                )
            if "--detach" in line:
                self.serves("signerd")

    def serves(self, name: str) -> None:
        """Returns when this container says so, for the last time that it was started."""
        begun = self.engine.give(f"podman inspect {name} --format '{{{{.State.StartedAt}}}}'")
        since = "T".join(begun.split()[:2]) + "Z"
        wait_until(lambda: " serves " in self.engine.give(f"podman logs --since {since} {name} 2>&1"), name)

    def admin(self, *arguments: str | Path, expect: int = 0) -> str:
        """Files that it is given are made readable for its user."""
        for path in arguments:
            if isinstance(path, Path) and path.is_file():
                path.parent.chmod(0o1777)
                path.chmod(0o644)
        quoted = " ".join(f"'{each}'" for each in arguments)
        return self.engine.give(f"podman exec signerd signerd {quoted}", expect=expect)


class ContainerFactory(Factory):
    """Orders are opened without approvals."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="bm-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        floor = folder / "floor"
        floor.mkdir()
        self.engine = Engine(folder / "engine").__enter__()
        try:
            self.installation: ContainerInstallation = ContainerInstallation(self.engine, floor)
            with or_ended(self.installation.close):
                self._fill()
        except BaseException:
            self._end()
            raise

    def walk_key_holder(self) -> None:
        """docs/key-holder.md, "In containers"."""
        lines = shell_lines(_DOCS / "key-holder.md", "In containers")
        for line in lines:
            instead = {
                '/var/lib/signerd-key"': f'/var/lib/signerd-key {_TOKENS}"',
                **self.installation.published,
            }
            if line.startswith("signerd="):
                floor = self.installation.directory
                instead['signerd-head"'] = f'signerd-head -v {floor}:{floor}"'
            self.engine.walk([line], {old: new for old, new in instead.items() if old in line})
            if "take-over" in line:
                self.engine.give("chown -R 10002:10002 /srv/tokens")
            if "--detach" in line:
                self.installation.serves("signerd-key-holder" if "key-holder run" in line else "signerd")

    def _end(self) -> None:
        self.engine.__exit__(None, None, None)
        self._folder.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.installation.__exit__(kind, error, trace)
        self._end()
