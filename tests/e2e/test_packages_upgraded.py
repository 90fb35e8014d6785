"""Debian packages of before in clean systems of Debian 12 and 13, brought to those of today: upgraded, taken
back, and upgrades that break off. tests/e2e/test_packages.py has those of today alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from agent.adapters.journal import schema
from harness.clean_root import PACKAGES, CleanRoot, made_root, middle, no_clean_root, repacked, revisions
from harness.debian_packages import NAMES, SUITES, built, earlier, no_builder, no_earlier
from harness.packaged_factory import STATIONS, PackagedFactory
from harness.process import wait_until
from harness.walked_factory import SIGNERD
from tokens import presence

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(no_earlier()), reason=no_earlier()),
]
_SIGNERDS_PACKAGE, _STATIONS_PACKAGE, _ = NAMES
_USERS = ("signerd", "signerd-key", "birthmark")
_RESTARTS = 6  # one more than systemd makes in ten seconds
_WRONG, _LATER = "3", "75"  # docs/operations.md, "Exit codes", has them


@dataclass
class Upgraded:
    """A factory of before; `todays` are the packages of this checkout."""

    factory: PackagedFactory
    before: Mapping[str, Path]
    todays: Mapping[str, Path]
    folder: Path
    revision: int = 1

    @property
    def root(self) -> CleanRoot:
        """The system on which it is installed."""
        return self.factory.root

    def newer(self, *names: str) -> list[Path]:
        """Packages of today, each time under another revision."""
        self.revision += 1
        return [repacked(self.todays[name], self.revision, self.folder) for name in names or NAMES]

    def given(self, packages: list[Path]) -> str:
        """Their names for apt and dpkg, which find them where they work."""
        for each in packages:
            self.root.put(each)
        return " ".join(f"./{each.name}" for each in packages)

    def revision_of(self, name: str) -> str:
        """That is installed."""
        version = self.root.run(f"dpkg-query --show --showformat='${{Version}}' {name}")
        return version.rpartition("-")[2].partition("+")[0]

    def states(self) -> set[str]:
        """Of the three packages, as dpkg has them."""
        said = self.root.run(f"dpkg-query --show --showformat='${{Status}}\n' {' '.join(NAMES)}")
        return {line.rpartition(" ")[2] for line in said.splitlines()}

    def whole(self) -> None:
        """Every file is that of the newest packages, and the services run and certify a board."""
        assert self.states() == {"installed"}
        assert self.root.apt(f"dpkg --verify {' '.join(NAMES)}") == ""
        self.goes_on()

    def goes_on(self) -> None:
        """What ran before runs, one more board passes, and all entries are verified."""
        self.root.run(f"systemctl is-active {SIGNERD} '{STATION}'")
        self.factory.installation.start_signerd()
        self.factory.board()
        self.factory.verify()


STATION = "birthmark-agent@*.service"


@pytest.fixture(scope="module", params=list(SUITES))
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    presence.skip(no_builder() or no_clean_root() or None)
    folder = tmp_path_factory.mktemp(request.param)
    before, todays = earlier(request.param), built(request.param, folder / "packages")
    root = made_root(SUITES[request.param], folder)
    with PackagedFactory(CleanRoot(root), list(before.values())) as factory:
        factory.root.run(f"systemctl enable {SIGNERD}")
        yield Upgraded(factory, before, todays, folder)


def _administrators(root: CleanRoot) -> None:
    """What somebody changed by hand."""
    drop_in = "/etc/systemd/system/signerd.service.d"
    root.run(f"mkdir -p {drop_in}; printf '[Service]\nLimitNOFILE=20000\n' >{drop_in}/ours.conf")
    root.run("chgrp adm /etc/signerd; chmod 0750 /etc/signerd; systemctl daemon-reload")
    root.run("echo '# ours' >>/etc/signerd/signerd.toml")


def test_packages_of_before_become_those_of_today(upgraded: Upgraded) -> None:
    factory, root = upgraded.factory, upgraded.root
    unit = factory.board()
    factory.verify()
    _administrators(root)
    users = [root.run(f"id {user}") for user in _USERS]
    settings = factory.kept("/etc/signerd", "/etc/systemd", STATIONS[0])
    # A question of dpkg's would end it: nobody answers.
    said = root.install(*upgraded.newer())
    assert upgraded.states() == {"installed"}
    assert revisions(root.path("/")) == {"2"}
    assert factory.kept("/etc/signerd", "/etc/systemd", STATIONS[0]) == settings
    assert root.run(f"dpkg-query --show --showformat='${{Conffiles}}' {' '.join(NAMES)}") == ""
    assert [root.run(f"id {user}") for user in _USERS] == users
    assert root.owner("/etc/signerd") == "signerd:adm 750"
    assert root.shown(SIGNERD, "LimitNOFILE") == "20000"
    # The database is of an earlier schema.
    assert root.shown(SIGNERD, "ExecMainStatus") == _WRONG
    assert "signerd database upgrade" in root.journal(SIGNERD)
    assert "birthmark-signerd: signerd does not start: see journalctl -u signerd" in said
    assert root.shown(unit, "ActiveState") == "active", root.journal(unit)
    root.run("signerd database upgrade", user="signerd")
    root.run(f"systemctl start {SIGNERD}")
    upgraded.whole()
    factory.auditor = factory.installation.add_auditor("new")
    factory.verify()
    results = [json.loads(line) for line in _results(root).splitlines()]
    # The station looked at the first board again when it was started again.
    assert {row["outcome"] for row in results} == {"PASS"}, results
    assert len({row["chip_id"] for row in results}) == 2, results


def _results(root: CleanRoot) -> str:
    """Out of the journal, a board a line."""
    return root.run("birthmark-agent results --json", user="birthmark")


def test_programs_of_before_refuse_what_is_newer(upgraded: Upgraded) -> None:
    root, names = upgraded.root, upgraded.given(list(upgraded.before.values()))
    assert "--allow-downgrades" in root.apt(f"apt install {names}", expect=100)
    unit = upgraded.factory.board()
    root.apt(f"apt install --allow-downgrades {names}")
    assert root.shown(SIGNERD, "ExecMainStatus") == _WRONG, root.journal(SIGNERD)
    assert "which this signerd does not know: run the signerd that made it" in root.journal(SIGNERD)
    assert f"journal.sqlite is of version {schema._VERSION}, this agent writes version 2" in root.journal(
        unit
    )
    root.install(*upgraded.newer())
    upgraded.whole()


@pytest.mark.parametrize("name", [_SIGNERDS_PACKAGE, _STATIONS_PACKAGE])
def test_the_power_fails_while_files_are_replaced(upgraded: Upgraded, name: str) -> None:
    """Half of the modules are those of before: nothing starts before the rest came."""
    root, unit = upgraded.root, upgraded.factory.board()
    root.install("strace")
    before, (package,) = upgraded.revision_of(name), upgraded.newer(name)
    names, folder = upgraded.given([package]), f"/usr/lib/birthmark/{name.removeprefix('birthmark-')}"
    root.cut(names, middle(package))
    assert revisions(root.path("/"), folder) == {before, str(upgraded.revision)}
    assert "half-installed" in upgraded.states()
    # As at the start of the machine: /run is empty, and what is enabled is started, again and again.
    unit = SIGNERD if name == _SIGNERDS_PACKAGE else unit
    root.run(f"rm -f /run/birthmark-agent.stopped; systemctl start {unit} || true")
    assert root.shown(unit, "UnitFileState") == "enabled"
    wait_until(lambda: int(root.shown(unit, "NRestarts")) >= _RESTARTS, "restarts", timeout_s=120)
    assert f"code=exited, status={_LATER}/" in root.journal(unit)
    command = "signerd" if unit == SIGNERD else "birthmark-agent"
    assert "An upgrade that breaks off" in root.refused(f"{command} --version", int(_LATER))
    # Only who has the package can mend it.
    root.apt("dpkg --configure -a")
    assert "needs to be reinstalled" in root.apt("apt install -f", expect=100)
    root.apt(f"apt install {names}")
    upgraded.whole()


def test_killed_while_a_script_is_at_work(upgraded: Upgraded) -> None:
    root = upgraded.root
    names = upgraded.given(upgraded.newer())
    killed_at(root, f"dpkg --install {names}", "compileall")
    assert "half-configured" in upgraded.states()
    root.apt("dpkg --configure -a")
    upgraded.whole()


def test_no_room_for_the_files(upgraded: Upgraded) -> None:
    """dpkg takes back what it did, and the version before goes on."""
    root, before = upgraded.root, str(upgraded.revision)
    names = upgraded.given(upgraded.newer())
    assert revisions(root.path("/")) == {before}
    root.full("/usr/lib/birthmark", spare_k=2048)
    said = root.apt(f"apt install {names}", expect=100)
    assert "No space left on device" in said
    assert revisions(root.path("/")) == {before}
    upgraded.goes_on()
    root.run("mount -o remount,size=4G /usr/lib/birthmark")
    root.apt(f"apt install {names}")
    upgraded.whole()


@pytest.mark.parametrize("spare_k", [16, 256, 1024])
def test_no_room_for_dpkgs_own_notes(upgraded: Upgraded, spare_k: int) -> None:
    root = upgraded.root
    names = upgraded.given(upgraded.newer())
    root.full("/var/lib/dpkg", spare_k=spare_k)
    assert "No space left on device" in root.apt(f"apt install {names}", expect=100)
    print(upgraded.states(), revisions(root.path("/")))
    root.run("mount -o remount,size=4G /var/lib/dpkg")
    root.apt("dpkg --configure -a")
    root.apt(f"apt install {names}")
    upgraded.whole()


def killed_at(root: CleanRoot, line: str, word: str) -> None:
    """A line of root's is killed with all that it started, once one of its processes has this word."""
    command = root.command("sh", "-euc", f"cd {PACKAGES}; {line}")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        started = psutil.Process(process.pid)

        def at_work() -> bool:
            assert process.poll() is None, "it ended before"
            return any(word in _words(each) for each in started.children(recursive=True))

        wait_until(at_work, word, timeout_s=300)
        for each in started.children(recursive=True):
            each.kill()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
