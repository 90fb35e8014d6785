"""The self-contained station for Windows: built by PyInstaller there, and a station of its own afterwards.

What Wine 8 cannot show: numpy, which wants functions of the C runtime that it lacks. This build has no plots.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.esp32.signing import SigningKey
from harness.esp32_line import Esp32Line
from harness.factory import Factory
from harness.installation import order_toml
from harness.process import COMMANDS, REPOSITORY, run
from harness.windows_pc import WindowsPc, windows_pc
from harness.windows_station import enrolled, make_locked_product

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]
ORDER = "WO-FROZEN"
_BUILD_S = 1_500.0
_WITHOUT = ("numpy", "matplotlib")


@pytest.fixture(scope="module", name="pc")
def make_pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPc]:
    with windows_pc(tmp_path_factory.mktemp("pc")) as pc:
        yield pc


@pytest.fixture(scope="module", name="folder")
def make_folder(pc: WindowsPc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The station, unpacked. From then on it is the PC's agent."""
    work = tmp_path_factory.mktemp("onefile")
    python = _python_that_builds(pc, work)
    recipe = _recipe(pc, work)
    wheelhouse, out = work / "wheelhouse", work / "out"
    collect = REPOSITORY / "deploy" / "wheelhouse.sh"
    target = ("--python", "3.13", "--platform", "win_amd64")
    run([collect, *target, wheelhouse, "agent-esp32"], timeout_s=_BUILD_S)
    with pc.run(str(python / "python.exe"), recipe / "freeze.py", wheelhouse, out) as building:
        built = building.wait(_BUILD_S)
    assert built.code == 0, built
    run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], directory=out)
    (archive,) = out.glob("birthmark-agent-*-win_amd64.zip")
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(work)
    shutil.rmtree(python)
    pc.program = (str(work / "birthmark-agent" / "birthmark-agent.exe"),)
    return work / "birthmark-agent"


def _python_that_builds(pc: WindowsPc, work: Path) -> Path:
    """The bed's Python with PyInstaller, by its hashes, and with the licence that python.org's has."""
    python = work / "python"
    shutil.copytree(pc.bed / "python", python, copy_function=os.link, symlinks=True)
    site = python / "Lib" / "site-packages"
    for name in _WITHOUT:
        for part in (site / name, site / f"{name}.libs", *site.glob(f"{name}-*.dist-info")):
            shutil.rmtree(part, ignore_errors=True)
    lock = work / "onefile.txt"
    for_windows = REPOSITORY / "deploy" / "setup" / "wine" / "for_windows.py"
    run([sys.executable, for_windows, REPOSITORY / "requirements" / "onefile.txt", lock])
    platform = ["--platform", "win_amd64", "--implementation", "cp", "--python-version", "3.13"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
    hashed = ["--require-hashes", "--only-binary", ":all:", "--upgrade"]
    subprocess.run([*pip, *hashed, *platform, "--target", site, "-r", lock], check=True)
    shutil.copyfile(Path(sysconfig.get_path("stdlib"), "LICENSE.txt"), python / "LICENSE.txt")
    return python


def _recipe(pc: WindowsPc, work: Path) -> Path:
    """deploy/onefile, whose programs begin with what Wine lacks."""
    recipe = shutil.copytree(REPOSITORY / "deploy" / "onefile", work / "recipe")
    lacking = (pc.bed / "python" / "Lib" / "site-packages" / "sitecustomize.py").read_text("utf-8")
    for name in ("station.py", "esptool_worker.py"):
        program = recipe / name
        program.write_text(f"{lacking}\n{program.read_text('utf-8')}", "utf-8")
    return recipe


def test_it_has_the_same_version(pc: WindowsPc, folder: Path) -> None:
    assert folder.exists()
    ordinary = subprocess.run(
        [COMMANDS / "birthmark-agent", "--version"], capture_output=True, text=True, check=True
    )
    said = pc.agent("--version")
    assert (said.code, said.text.split()) == (0, ordinary.stdout.split())


def test_licences_and_source_are_beside_it(folder: Path) -> None:
    table = (folder / "licenses" / "README.txt").read_text("utf-8")
    for name in ("esptool", "crcmod", "grpcio", "pyserial", "pywin32"):
        assert f"\n{name} " in table
    assert (folder / "licenses" / "python.txt").stat().st_size > 0
    sources = {wheel.name.split("-")[0] for wheel in (folder / "source").glob("*.whl")}
    assert sources == {"birthmark", "esptool", "esp_pylib", "reedsolo"}


def test_the_agents_program_holds_nothing_of_esptool(folder: Path) -> None:
    """The table of modules stands in a program in clear."""
    agent, worker = (folder / f"{name}.exe" for name in ("birthmark-agent", "birthmark-esptool-worker"))
    assert b"esptool.loader" in worker.read_bytes()
    assert b"esptool.loader" not in agent.read_bytes()


def test_it_is_a_station(pc: WindowsPc, folder: Path, tmp_path: Path) -> None:
    assert folder.exists()
    with Factory(tmp_path) as factory:
        line = factory.installation
        station = enrolled(pc, factory, tmp_path / "birthmark", "frozen-1")
        assert station.installed.code == 0, station.installed
        line.open_order(
            order_toml(ORDER, quantity=2, stations=[station.uri], serial_pattern="FRZ-{number:06d}")
        )
        made = factory.new_run(boards=2)
        ports = [part for port in station.plug(made, 30) for part in ("--port", port)]
        doctor = pc.agent("doctor", "-c", station.config, "--order", ORDER, "--json")
        wrong = {each["check"] for each in doctor.json() if not each["ok"]}
        assert wrong <= {"ports"}, doctor  # Wine lists no port by itself
        with pc.start("run", "-c", station.config, "--order", ORDER, "--count", "2", *ports) as program:
            ended = program.wait()
        assert ended.code == 0, ended
        assert {record.chip_id for record in factory.records(made)} == set(made.chips)


def test_its_worker_flashes_and_locks_a_chip(pc: WindowsPc, folder: Path, tmp_path: Path) -> None:
    assert folder.exists()
    with Esp32Line(tmp_path, "esp32s3", SigningKey.make(tmp_path)) as line:
        make_locked_product(pc, line)
