"""podman with images, containers and secrets of its own, of which nothing is left; so are `/srv` and `/run`.

    with Engine(folder) as engine:
        engine.build()
        engine.give('podman run --rm signerd --help')
        engine.walk(shell_lines(page, "In a container"), {"8443:8443": "127.0.0.1:40001:8443"})

The base image is made of Debian's packages where mmdebstrap is there, else podman pulls it. What a machine
needs so that apt and pip reach their servers from a build, a mirror's configuration say, is in the variable
`BIRTHMARK_BUILD_OPTIONS`: options of `podman build`.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import REPOSITORY, run

_NEEDED = ("podman", "slirp4netns", "unshare", "nsenter")
_BASE = "docker.io/library/debian:12-slim"
_MOST_FILES, _MOST_PROCESSES = 16384, 8192
_BUILD_S = 1800.0
# Where cgroups of both versions are mounted, crun takes none of the second that have controllers.
_MAKE = """
set -eu
mount -t tmpfs -o mode=0755 tmpfs /srv
mount -t tmpfs -o mode=0755 tmpfs /run
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
echo made
exec cat
"""


def no_engine() -> str:
    """Why there is none here; an empty text if there is."""
    if os.getuid() != 0:
        return "an engine with mounts of its own takes root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)} (deploy/setup/setup.sh --soak)"
    return ""


def shell_lines(page: Path, heading: str) -> list[str]:
    """The lines of shell under a heading of a page, those that go on joined."""
    part = page.read_text("utf-8").partition(f"# {heading}\n")[2]
    part = re.split(r"^#+ ", part, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = "".join(re.findall(r"```sh\n(.*?)```", part, re.DOTALL))
    return blocks.replace("\\\n", " ").splitlines()


class Engine:
    """There while the context is, with all that runs in it. `folder` holds images, and goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._set: list[str] = []

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._configure()
        self._held = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MAKE],
            stdin=subprocess.PIPE,  # closed: it ends, also where the test dies
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._held.stdout is not None
        if self._held.stdout.readline() != b"made\n":
            raise OSError(f"no mounts of its own: {self._held.communicate()[1].decode().strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give("podman rm --all --force --time 5")
        self._held.communicate(b"")
        shutil.rmtree(self._folder)

    def _configure(self) -> None:
        """A root that is confined may not ask for more than its own limits, as podman does."""
        storage = (
            f'[storage]\ndriver = "overlay"\nrunroot = "/run/podman"\ngraphroot = "{self._folder}/graph"\n'
        )
        (self._folder / "storage.conf").write_text(storage, "utf-8")
        files = min(_MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        limits = f'["nofile={files}:{files}", "nproc={_MOST_PROCESSES}:{_MOST_PROCESSES}"]'
        (self._folder / "containers.conf").write_text(
            # A network without rules in the machine's firewall.
            f'[containers]\ndefault_ulimits = {limits}\nnetns = "slirp4netns"\nlog_driver = "k8s-file"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
            "utf-8",
        )

    def path(self, inside: str) -> Path:
        """A path as the engine sees it, for us outside."""
        return Path(f"/proc/{self._held.pid}/root{inside}")

    def give(self, line: str, *, expect: int = 0, timeout_s: float = 120.0) -> str:
        """A line of a shell; what variables were set by lines before is known to it."""
        enter = ["nsenter", f"--mount=/proc/{self._held.pid}/ns/mnt", f"--wd={REPOSITORY}", "--"]
        files = [f"CONTAINERS_{each}={self._folder}/{name}" for each, name in _CONFIGURATION.items()]
        script = "\n".join((*self._set, line))
        return run([*enter, "env", *files, "sh", "-euc", script], expect=expect, timeout_s=timeout_s)

    def walk(self, lines: list[str], instead: Mapping[str, str]) -> None:
        """Lines of a page as printed, but for what differs here. Each of `instead` stands in one of them."""
        for old in instead:
            assert any(old in line for line in lines), old
        for line in lines:
            for old, new in instead.items():
                line = line.replace(old, new)  # noqa: PLW2901 -- one after the other
            if re.match(r"\w+=", line):
                self._set.append(line)
            else:
                self.give(line)

    def base(self) -> None:
        """The image that the Containerfile begins with."""
        if shutil.which("mmdebstrap"):
            made = f"mmdebstrap --quiet --variant=minbase bookworm - | podman import --quiet - {_BASE}"
            self.give(made, timeout_s=_BUILD_S)

    def build(self, line: str) -> None:
        """A line with `podman build`."""
        options = f"podman build --network host {os.environ.get('BIRTHMARK_BUILD_OPTIONS', '')}"
        self.give(line.replace("podman build", options), timeout_s=_BUILD_S)


_CONFIGURATION = {"STORAGE_CONF": "storage.conf", "CONF": "containers.conf"}
