"""The self-contained station, in a root with a C library and a shell and no Python: it enrolls, looks at
itself, and makes boards and ESP32 chips under a real signerd."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.esp32.signing import SigningKey
from harness import esp32_line
from harness.bare_root import make_bare_root, no_bare_root, write_entrance
from harness.factory import WORK_ORDER, Factory
from harness.process import COMMANDS, REPOSITORY
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
_PROGRAM = "/opt/birthmark-agent/birthmark-agent"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the archive that the build makes."""
    presence.skip(no_bare_root())
    out = tmp_path_factory.mktemp("onefile")
    given = os.environ.get("BIRTHMARK_ONEFILE")  # one that is there already
    if given is None:
        build = [REPOSITORY / "deploy" / "onefile" / "build.sh", out]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = Path(given or out).glob("birthmark-agent-*-linux_x86_64.tar.gz")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=archive.parent, check=True)
    root = out / "root"
    make_bare_root(root, tmp_path_factory.getbasetemp())
    (root / "opt").mkdir()
    with tarfile.open(archive) as packed:
        packed.extractall(root / "opt", filter="tar")
    return root


@pytest.fixture(scope="module")
def commands(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of commands; the agent is the one in that root."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("signerd", "birthmark-auditor"):
        (folder / name).symlink_to(COMMANDS / name)
    write_entrance(folder / "birthmark-agent", root, _PROGRAM, tmp_path_factory.getbasetemp())
    return folder


def said(*command: str | Path) -> tuple[int, str]:
    """Exit code and standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_it_has_the_same_commands(commands: Path) -> None:
    ordinary = said(COMMANDS / "birthmark-agent", "--help")
    assert said(commands / "birthmark-agent", "--help") == ordinary
    assert ordinary[0] == 0


def test_no_python_is_near(root: Path) -> None:
    names = {path.name for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
    assert not any(name.startswith(("python", "pypy")) for name in names)


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
def factory(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(tmp_path_factory.mktemp("factory"), commands=commands) as factory:
        yield factory


def test_doctor_says_what_it_says_elsewhere(factory: Factory, commands: Path) -> None:
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


def test_boards_are_made(factory: Factory) -> None:
    run = factory.new_run(boards=2)
    assert run.start_agent().wait(120) == 0
    factory.finished_once(run)


def test_an_esp32_is_made_by_the_worker_beside_it(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esp32_line, "AGENT", commands / "birthmark-agent")
    with esp32_line.Esp32Line(tmp_path, "esp32s3", SigningKey.make(tmp_path)) as line:
        run = line.new_run()
        assert run.start_agent().wait(180) == 0
        line.finished_once(run)


def test_what_it_starts_gets_the_systems_libraries(factory: Factory, root: Path) -> None:
    """A result command is another program: the station's own libraries are not for it."""
    config = factory.station.config
    seen = factory.installation.logs / "environment"
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
    assert root.exists()
