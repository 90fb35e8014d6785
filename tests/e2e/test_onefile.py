"""The self-contained station, in a root with a C library and a shell and no Python: it enrolls, looks at
itself, and makes boards and ESP32 chips under a real signerd. Its user is nobody, its program's folder is
read-only, nothing can be started from its /tmp, and there is no network but the way to signerd."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from boards.esp32.signing import SigningKey
from harness import esp32_line
from harness.bare_factory import BareFactory, BareInstallation
from harness.bare_root import hand_over, make_bare_root, no_bare_root, write_entrance
from harness.factory import WORK_ORDER, step_begun
from harness.lonely_network import LonelyNetwork
from harness.process import COMMANDS, REPOSITORY, run
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
_PAGE = (REPOSITORY / "docs" / "stations.md").read_text("utf-8")
_BUILD_S = 1500.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build makes."""
    presence.skip(no_bare_root())
    out = tmp_path_factory.mktemp("onefile")
    given = os.environ.get("BIRTHMARK_ONEFILE")  # a folder with one that is there already
    if given is None:
        run([REPOSITORY / "deploy" / "onefile" / "build.sh", out], timeout_s=_BUILD_S)
    (archive,) = Path(given or out).glob("birthmark-agent-*-linux_x86_64.tar.gz")
    run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], directory=archive.parent)
    return archive


@pytest.fixture(scope="module")
def shared(archive: Path) -> Iterator[Path]:
    """The folder that the root shares with this machine. Not below /tmp, which is another one inside."""
    assert archive.exists()
    with TemporaryDirectory(prefix="bm-onefile-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def root(archive: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the station, by the page's lines."""
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o755)
    make_bare_root(root, shared)
    (lines,) = re.findall(r"^(    sha256sum birthmark-agent-\S+\n(?:    .+\n)+)", _PAGE, re.MULTILINE)
    script = lines.replace(" -C /opt", f" -C {root}/opt").replace(" /usr/local", f" {root}/usr/local")
    assert script.count(str(root)) == 2
    run(["/bin/sh", "-euxc", script], directory=archive.parent)
    return root


@pytest.fixture(scope="module")
def network(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonelyNetwork]:
    assert root.exists()
    with LonelyNetwork(tmp_path_factory.mktemp("network")) as network:
        yield network


@pytest.fixture(scope="module")
def commands(
    root: Path, shared: Path, network: LonelyNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of commands; the agent is the one in that root."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("signerd", "birthmark-auditor"):
        (folder / name).symlink_to(COMMANDS / name)
    write_entrance(folder / "birthmark-agent", root, "/usr/local/bin/birthmark-agent", shared, network)
    write_entrance(folder / "sh", root, "/bin/sh", shared, network)
    return folder


def said(*command: str | Path) -> tuple[int, str]:
    """Exit code and standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_the_place_is_as_bad_as_it_says(root: Path, commands: Path, shared: Path) -> None:
    """Each line fails for the reason that is meant."""
    names = {path.name for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
    assert not any(name.startswith(("python", "pypy")) for name in names)
    (shared / "script").write_text("#!/bin/sh\necho started\n", "utf-8")
    (shared / "script").chmod(0o755)
    copy = 'while read -r line; do echo "$line"; done'
    for line, word in (
        ("echo x >/opt/birthmark-agent/x", "Read-only file system"),
        ("echo x >/root-file", "Read-only file system"),
        (f"umask 0; {copy} <{shared}/script >/tmp/script; exec /tmp/script", "Permission denied"),
        ("echo x >/proc/1/oom_score_adj", "Permission denied"),
    ):
        done = subprocess.run([commands / "sh", "-c", line], capture_output=True, text=True, check=False)
        assert word in done.stderr, (line, done)
    (shared / "tmp" / "script").chmod(0o755)
    done = subprocess.run([commands / "sh", "-c", "/tmp/script"], capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr
    (shared / "tmp" / "script").unlink()


def test_it_has_the_same_commands_and_version(commands: Path) -> None:
    for option in ("--help", "--version"):
        ordinary = said(COMMANDS / "birthmark-agent", option)
        assert said(commands / "birthmark-agent", option) == ordinary
        assert ordinary[0] == 0


def test_the_agents_program_holds_nothing_of_esptool(root: Path) -> None:
    """The table of modules stands in a program in clear."""
    folder = root / "opt" / "birthmark-agent"
    agent, worker = (folder / name for name in ("birthmark-agent", "birthmark-esptool-worker"))
    assert agent.exists()
    assert b"esptool.loader" in worker.read_bytes()
    assert b"esptool.loader" not in agent.read_bytes()


def test_the_licence_of_everything_inside_is_beside_it(root: Path) -> None:
    folder = root / "opt" / "birthmark-agent"
    table = (folder / "licenses" / "README.txt").read_text("utf-8")
    internal = folder / "_internal"
    for library in (each for each in internal.glob("lib*.so*") if not each.is_symlink()):
        assert f"\n{library.name}: " in table
    lock = (REPOSITORY / "requirements" / "agent-esp32.txt").read_text("utf-8")
    for name in ("esptool", "crcmod", "grpcio", "numpy", "pyserial"):
        assert f"\n{name}==" in lock
        assert f"\n{name} " in table
    source = {wheel.name.partition("-")[0] for wheel in (folder / "source").iterdir()}
    assert {"birthmark", "esptool"} <= source


@pytest.fixture(scope="module")
def factory(commands: Path, shared: Path, network: LonelyNetwork) -> Iterator[BareFactory]:
    with BareFactory(shared / "factory", commands, network) as factory:
        yield factory


def test_doctor_says_what_it_says_elsewhere(factory: BareFactory, commands: Path) -> None:
    arguments = ("doctor", "--config", factory.station.config, "--order", WORK_ORDER, "--json")
    inside = said(commands / "birthmark-agent", *arguments)
    outside = said(COMMANDS / "birthmark-agent", *arguments)
    assert inside[0] == outside[0]
    assert findings(inside[1]) == findings(outside[1])


def findings(text: str) -> list[tuple[str, bool]]:
    """Checks and verdicts."""
    found = [(finding["check"], finding["ok"]) for finding in json.loads(text)]
    assert found
    return found


def test_boards_are_made(factory: BareFactory, commands: Path) -> None:
    run = factory.new_run(boards=2)
    assert run.start_agent().wait(120) == 0
    factory.finished_once(run)
    plot = factory.station.directory / "shift.svg"
    report = ("report", "--config", factory.station.config, "--plot", plot)
    assert said(commands / "birthmark-agent", *report)[0] == 0
    assert "<svg" in plot.read_text("utf-8")


def test_killed_it_leaves_nothing_behind(factory: BareFactory, shared: Path) -> None:
    """Neither a process nor a file; and the station that starts next goes on."""
    run = factory.new_run(boards=1)
    agent = run.start_agent()
    step_begun(agent, "request")
    agent.kill()
    assert list((shared / "tmp").iterdir()) == []
    assert run.start_agent().wait(120) == 0
    factory.finished_once(run)


def test_an_esp32_is_made_by_the_worker_beside_it(
    commands: Path, shared: Path, network: LonelyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the agent was killed amid writing: the worker ends too, and takes its folder with it."""

    def make(directory: Path) -> BareInstallation:
        return BareInstallation(directory, commands, network)

    place = shared / "esp32"
    place.mkdir()
    with esp32_line.Esp32Line(place, "esp32s3", SigningKey.make(place), make) as line:
        monkeypatch.setattr(esp32_line, "AGENT", commands / "birthmark-agent")
        show = ("bundle", "show", line.bundle.path, "--json")
        assert said(commands / "birthmark-agent", *show) == said(COMMANDS / "birthmark-agent", *show)
        run = line.new_run()
        hand_over(line.station.directory, ())
        hand_over(place / run.work_order, [chip.port for chip in run.farm.chips])
        agent = run.start_agent()
        step_begun(agent, "flash")
        workers = [each for each in agent.children() if each.name().startswith("birthmark-espto")]
        assert len(workers) == 1
        assert [each.name.partition("-")[0] for each in (shared / "tmp").iterdir()] == ["birthmark"]
        agent.kill()
        assert not psutil.wait_procs(workers, timeout=30)[1]
        assert list((shared / "tmp").iterdir()) == []
        assert run.start_agent().wait(180) == 0
        line.finished_once(run)
        assert list((shared / "tmp").iterdir()) == []


def test_what_it_starts_gets_the_systems_libraries(factory: BareFactory) -> None:
    """A result command is another program: the station's own libraries are not for it."""
    config = factory.station.config
    seen = factory.station.directory / "environment"
    before = config.read_text("utf-8")
    command = json.dumps(["/bin/sh", "-c", f"export -p > {seen}"])
    config.write_text(f"{before}\n[results]\ncommand = {command}\n", "utf-8")
    try:
        run = factory.new_run(boards=1)
        assert run.start_agent().wait(120) == 0
    finally:
        config.write_text(before, "utf-8")
    assert "PATH" in seen.read_text("utf-8")
    assert "LD_LIBRARY_PATH" not in seen.read_text("utf-8")
