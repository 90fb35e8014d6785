"""All three programs from a wheelhouse, for each Python that they are said to run on. Installed without a
network, they make boards and verify the ledger there. And the folders for Windows have what is needed."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Mapping
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from harness import wheelhouses
from harness.clean_root import made_root, no_clean_root
from harness.lonely_network import no_lonely_network
from harness.process import COMMANDS, REPOSITORY, run
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
_PROGRAMS = ("signerd", "birthmark-agent", "birthmark-auditor")
_JOB = """
import sys
from pathlib import Path
from harness.factory import Factory
with Factory(Path(sys.argv[1]), commands=Path(sys.argv[2])) as factory:
    run = factory.new_run(boards=2)
    assert run.start_agent().wait(120) == 0
    factory.finished_once(run)
    print(factory.verify())
"""
_ENTER = """
for each in /dev /proc "$2"; do mkdir -p "$0$each"; mount --rbind "$each" "$0$each"; done
program=$1; shift 2
exec chroot "$0" "$program" "$@"
"""
_WINDOWS = {
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_system": "Windows",
    "sys_platform": "win32",
}


@pytest.mark.parametrize("version", wheelhouses.PYTHONS)
def test_the_three_programs_work_where_no_network_is(version: str, tmp_path: Path) -> None:
    presence.skip(no_lonely_network() or None)
    interpreter = wheelhouses.python(version)
    presence.skip(None if interpreter else f"no Python {version} on this machine")
    assert interpreter is not None
    wheelhouse = wheelhouses.made(tmp_path / "wheelhouse", "signerd", "agent", "auditor", version=version)
    target = tmp_path / "birthmark"
    wheelhouses.install(wheelhouse, interpreter, target)
    commands = target / "bin"
    assert run([commands / "python3", "--version"]).startswith(f"Python {version}.")
    _work(commands, tmp_path)


def _entrance(folder: Path, name: str, root: Path, program: str, shared: Path) -> Path:
    """A command of that root. Its processes, devices and network are those of the caller."""
    file = folder / name
    line = (
        f"exec unshare --mount --propagation private /bin/sh -euc '{_ENTER}' '{root}' '{program}' '{shared}'"
    )
    file.write_text(f'#!/bin/sh\n{line} "$@"\n', "utf-8")
    file.chmod(0o755)
    return file


def test_the_three_programs_work_on_debian_13(tmp_path: Path) -> None:
    """With Debian's own Python and SoftHSM, and nothing of this machine's."""
    presence.skip(no_clean_root() or no_lonely_network() or None)
    root = made_root("trixie", tmp_path, include="python3-venv,softhsm2")
    wheelhouses.made(root / "srv" / "wheelhouse", "signerd", "agent", "auditor", version="3.13")
    commands, shared = tmp_path / "commands", tmp_path / "shared"
    commands.mkdir()
    shared.mkdir()
    shell = _entrance(commands, "sh", root, "/bin/sh", shared)
    lines = f"cd /srv\n{wheelhouses.page_lines('python3', Path('/opt/birthmark'))}"
    run(wheelhouses.without_a_network(shell, "-euc", lines), timeout_s=600)
    assert run([shell, "-c", "/opt/birthmark/bin/python3 --version"]).startswith("Python 3.13.")
    for name in _PROGRAMS:
        _entrance(commands, name, root, f"/opt/birthmark/bin/{name}", shared)
    _work(commands, shared)


def _work(commands: Path, folder: Path) -> None:
    """Versions, two boards and an audit, where no network is."""
    for name in _PROGRAMS:
        own = run(wheelhouses.without_a_network(commands / name, "--version"))
        assert own == run([COMMANDS / name, "--version"])
        assert own.startswith(f"{name} ")
    job = wheelhouses.without_a_network(sys.executable, "-c", _JOB, folder / "factory", commands)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    assert run(job, environment=environment, timeout_s=300).strip()


@pytest.mark.parametrize("version", wheelhouses.PYTHONS)
def test_a_folder_for_windows_has_what_windows_needs(version: str, tmp_path: Path) -> None:
    folder = wheelhouses.made(tmp_path / "wheelhouse", "agent-esp32", version=version, platform="win_amd64")
    pip = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "install", "--dry-run")
    target = ("--platform", "win_amd64", "--python-version", version, "--target", tmp_path / "site")
    here = ("--no-index", "--find-links", folder, "--only-binary", ":all:", "--require-hashes", "--no-deps")
    said = run([*pip, *target, *here, "--ignore-requires-python", "-r", folder / "requirements.txt"])
    (would,) = re.findall(r"^Would install (.*)$", said, re.MULTILINE)
    wheels = {str(parse_wheel_filename(each.name)[0]): each for each in folder.glob("*.whl")}
    assert len(would.split()) == len(wheels)
    assert missing(wheels, version) == []
    extension = zipfile.ZipFile(wheels[canonicalize_name("grpcio")]).namelist()
    assert any(name.endswith("win_amd64.pyd") for name in extension)
    assert "colorama" in wheels


def missing(wheels: Mapping[str, Path], version: str) -> list[str]:
    """What a wheel of the folder needs on Windows and the folder lacks, as `pip check` would say there."""
    environment = {"python_version": version, "python_full_version": f"{version}.0", **_WINDOWS}
    metadata = {name: _metadata(wheel) for name, wheel in wheels.items()}
    lacking = []
    for name, (_, needs) in metadata.items():
        extras = ("agent", "esp32", "report") if name == "birthmark" else ("",)
        for need in map(Requirement, needs):
            asked = need.marker is None or any(
                need.marker.evaluate({**environment, "extra": extra}) for extra in extras
            )
            there = metadata.get(canonicalize_name(need.name))
            if asked and (there is None or not need.specifier.contains(there[0], prereleases=True)):
                lacking.append(f"{name}: {need}")
    return lacking


def _metadata(wheel: Path) -> tuple[str, list[str]]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)]
        read = BytesParser().parsebytes(archive.read(name))
    return str(read["Version"]), read.get_all("Requires-Dist", [])


def test_such_a_folder_that_lacks_one_would_be_seen(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "a-1.0.dist-info/METADATA", "Name: a\nVersion: 1.0\nRequires-Dist: b>=2; os_name == 'nt'\n"
        )
    assert missing({"a": wheel}, "3.13") == ['a: b>=2; os_name == "nt"']
