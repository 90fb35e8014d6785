"""The station's wheelhouse on a PC with Windows without a network: the lines of docs/stations.md, as printed.

What Wine 8 cannot walk is named in `LEFT_OUT`. It has no PowerShell: its own `cmd` takes the lines. Rights in
`C:\\Program Files` are nothing to it.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import wheelhouses
from harness.factory import Factory
from harness.installation import DEPLOYMENT, Installation, order_toml
from harness.lonely_network import no_lonely_network
from harness.process import COMMANDS, REPOSITORY, run, wait_until
from harness.windows_pc import TIMEOUT_S, Ended, windows_path
from harness.windows_prompt import INSTALL_S, PYTHON, STUBS, FreshPc, fresh_pc
from harness.windows_station import WindowsStation
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]

_PAGE = (REPOSITORY / "docs" / "stations.md").read_text("utf-8")
_STUB = "Wine has a program of this name that does nothing, and calls it a success"
_BUILDS = (
    "test_onefile_on_windows.py does this with what Wine has: without numpy, with wheels that Linux fetched"
)
_BUILT = r"build\Scripts\python"
LEFT_OUT = {  # with the reason
    r"certutil -hashfile wheelhouse\SHA256SUMS SHA256": _STUB,
    r"certutil -hashfile wheelhouse\install.py SHA256": _STUB,
    r'icacls FILE /grant "NT SERVICE\birthmark-agent:R"': f"{_STUB}. It keeps no right of another account",
    r"py -3.13 wheelhouse\install.py build": _BUILDS,
    rf"{_BUILT} -m pip install --require-hashes --only-binary :all: -r requirements\onefile.txt": _BUILDS,
    rf"{_BUILT} deploy\onefile\freeze.py wheelhouse dist": _BUILDS,
}
_FOLDER = r"C:\ProgramData\Birthmark"
ORDER, NAME = "WO-2026-001", "win1"  # the page's order; its pc1 is there already
_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)"
_WHERE = "import agent; print(agent.__file__)"


def _block(head: str) -> list[str]:
    """The lines below this beginning of a paragraph."""
    (lines,) = re.findall(rf"(?m)^{re.escape(head)}[^\n]*(?:\n[^\n]+)*\n\n((?:    .+\n)+)", _PAGE)
    return [line.strip() for line in str(lines).splitlines()]


def _command(begin: str) -> str:
    """The page's first command that begins so, as in the folder `Scripts`."""
    line = re.findall(rf"(?m)^    (birthmark-agent {re.escape(begin)}.*)$", _PAGE)[0]
    return rf".\{line}".replace("DIR", _FOLDER).replace("--deployment example", f"--deployment {DEPLOYMENT}")


def _named(text: str) -> str:
    """A command that stands in a sentence or a table of the page."""
    assert f"`{text}`" in _PAGE
    return f".\\{text}" if text.startswith("birthmark-agent") else text


INSTALL = [line for line in _block("**Windows** (in a prompt") if line not in LEFT_OUT]
INTO, SCRIPTS = INSTALL[:-1], INSTALL[-1]
(SERVICE,) = _block("### Windows service")


@dataclass
class Installed:
    """What install.py came to, in order: broken off, the earlier commit's, this one's over it."""

    connected: Ended
    half: set[str]
    earlier: Ended
    earlier_agent: str
    current: Ended
    current_agent: str
    version: Ended
    where: Ended


@dataclass
class Walked:
    """What the station did afterwards, in order."""

    station: WindowsStation
    doctor: Ended
    done: Ended
    serving: Ended
    removed: Ended
    chips: list[str]
    stored: set[str]


@pytest.fixture(scope="module", name="folders")
def make_wheelhouses(fresh: FreshPc, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders with a `wheelhouse` each: this checkout's, and an earlier commit's of the same version."""
    assert fresh.drive.is_dir()
    current, earlier = tmp_path_factory.mktemp("current"), tmp_path_factory.mktemp("earlier")
    made = wheelhouses.made(current / "wheelhouse", "agent", version=PYTHON, platform="win_amd64")
    (earlier / "wheelhouse").mkdir()
    for wheel in made.glob("*.whl"):
        shutil.copy(wheel, earlier / "wheelhouse")
    (own,) = (earlier / "wheelhouse").glob("birthmark-*.whl")
    _as_it_was(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "deploy" / "wheelhouse")
        collect = importlib.import_module("collect")
    collect.describe(earlier / "wheelhouse", ["agent"], "win_amd64", PYTHON)
    return current, earlier


def _as_it_was(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as read:
        files = {name: read.read(name) for name in read.namelist()}
    files["agent/__init__.py"] += b"EARLIER = True\n"
    with zipfile.ZipFile(wheel, "w") as written:
        for name, data in files.items():
            written.writestr(name, data)


@pytest.fixture(scope="module", name="fresh")
def make_pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshPc]:
    presence.skip(no_lonely_network() or None)
    with fresh_pc(tmp_path_factory.mktemp("pc")) as fresh:
        yield fresh


@pytest.fixture(scope="module", name="factory")
def make_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(tmp_path_factory.mktemp("factory") / "line") as factory:
        yield factory


@pytest.fixture(scope="module", name="installed")
def install(
    fresh: FreshPc, folders: tuple[Path, Path], factory: Factory, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """By the page's lines, while signerd serves on this machine and the PC has no network."""
    current, earlier = folders
    site = fresh.drive / "Program Files" / "Birthmark" / "Lib" / "site-packages"
    port = factory.installation.target.rpartition(":")[2]
    fresh.without_network()
    connected = fresh.prompt(tmp_path_factory.mktemp("asks"), [f'py -3.13 -c "{_CONNECT}" {port}'])
    with fresh.start(earlier, INTO):
        wait_until((site / "grpc" / "_cython").exists, "half an installation", timeout_s=INSTALL_S)
        fresh.pc.power_cut()
    half = {each.name for each in site.glob("*.dist-info")}
    fresh.without_network()
    first = fresh.prompt(earlier, INTO)
    earlier_agent = (site / "agent" / "__init__.py").read_text("utf-8")
    second = fresh.prompt(current, INTO)
    return Installed(
        connected=connected,
        half=half,
        earlier=first,
        earlier_agent=earlier_agent,
        current=second,
        current_agent=(site / "agent" / "__init__.py").read_text("utf-8"),
        version=fresh.prompt(current, [SCRIPTS, r".\birthmark-agent --version"]),
        where=fresh.prompt(current, [SCRIPTS, f'.\\python -I -c "{_WHERE}"']),
    )


@pytest.fixture(scope="module", name="walked")
def walk(
    fresh: FreshPc, installed: Installed, factory: Factory, tmp_path_factory: pytest.TempPathFactory
) -> Walked:
    """From enrolment to the service, by the page's commands."""
    assert installed.current.code == 0, installed.current
    post, home = tmp_path_factory.mktemp("post"), fresh.drive / "ProgramData" / "Birthmark"
    fresh.with_network()

    def prompt(*lines: str) -> Ended:
        return fresh.prompt(post, [SCRIPTS, *lines], timeout_s=TIMEOUT_S)

    requested = prompt(_command("enroll --dir DIR --deployment").replace("pc1", NAME))
    assert requested.code == 0, requested
    mode = (home / "station.key").stat().st_mode & 0o777
    enrolled = prompt(_answered(factory.installation, home, post))
    uri = f"birthmark://{DEPLOYMENT}/station/plant1/{NAME}"
    station = WindowsStation(fresh.pc, home, uri, requested, mode, enrolled)
    factory.installation.open_order(
        order_toml(ORDER, quantity=2, stations=[uri], serial_pattern="WHL-{number:06d}")
    )
    doctor = prompt(_command("doctor"))
    by_hand, served = factory.new_run(boards=1), factory.new_run(boards=1)
    station.plug(by_hand, 30)
    done = prompt(f"{_command('run')} --count 1 --port COM30")
    station.plug(served, 31)
    station.configure("", head='ports = ["COM31"]\n')
    assert prompt(SERVICE).code == 0
    station.logged("board", chip_id=served.chips[0], outcome="PASS")
    return Walked(
        station=station,
        doctor=doctor,
        done=done,
        serving=prompt(_named("birthmark-agent service status")),
        removed=prompt(
            _named("net stop birthmark-agent"),
            _named("net start birthmark-agent"),
            _named("net stop birthmark-agent"),
            _named("birthmark-agent service remove"),
        ),
        chips=[*by_hand.chips, *served.chips],
        stored={record.chip_id for each in (by_hand, served) for record in factory.records(each)},
    )


def _answered(line: Installation, home: Path, post: Path) -> str:
    """The company's part; returns the command that takes what comes back, with the files' places."""
    who = ("--site", "plant1", "--name", NAME)
    line.admin("station", "add", home / "station.csr.pem", *who, "--out", post / "pc1.pem")
    for file in ("operations/ca.pem", "log.vkey"):
        shutil.copy(line.home / file, post)
    shutil.copy(line.home / "ca" / "root.pem", post)
    command = _command("enroll --dir DIR --install").replace("signer.example.com:8443", line.target)
    names = r"\b(pc1\.pem|ca\.pem|log\.vkey|root\.pem)\b"
    return re.sub(names, lambda name: windows_path(post / name[0]), command)


def test_there_was_no_network(installed: Installed, walked: Walked) -> None:
    """signerd served all the time, and afterwards the station reached it."""
    assert walked.done.code == 0, walked.done
    assert installed.connected.code == 1
    assert b"ConnectionRefusedError" in installed.connected.err


def test_an_installation_that_the_power_cut_is_made_whole_by_the_same_line(installed: Installed) -> None:
    assert not any(name.startswith("birthmark-") for name in installed.half), installed.half
    assert len(installed.half) > 1  # pip's own is one
    assert installed.earlier.code == 0, installed.earlier
    assert "it is made anew" in installed.earlier.text
    assert "EARLIER" in installed.earlier_agent


def test_a_later_wheelhouse_takes_the_place_of_the_same_version(installed: Installed) -> None:
    assert installed.current.code == 0, installed.current
    assert "made anew" not in installed.current.text
    assert r"installed: agent, in C:\Program Files\Birthmark\Scripts" in installed.current.text
    assert "EARLIER" not in installed.current_agent


def test_the_commands_are_in_the_folder_that_the_page_names(installed: Installed) -> None:
    ordinary = run([COMMANDS / "birthmark-agent", "--version"])
    assert (installed.version.code, installed.version.text.split()) == (0, ordinary.split())
    assert installed.where.text.startswith("C:\\Program Files\\Birthmark\\Lib\\site-packages\\agent\\")


def test_a_wheel_that_was_exchanged_is_refused(
    fresh: FreshPc, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders[0] / "wheelhouse", tmp_path / "wheelhouse")
    (wheel,) = (tmp_path / "wheelhouse").glob("smp-*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"\x01")
    said = fresh.prompt(tmp_path, [line.replace("Birthmark", "Elsewhere") for line in INTO])
    assert (said.code, said.out) == (1, b"")
    word = f"install: {wheel.name} is not the file that was put here: copy the folder again"
    assert said.err.decode().splitlines() == [word]
    assert not (fresh.drive / "Program Files" / "Elsewhere").exists()


def test_a_folder_of_other_files_is_refused(fresh: FreshPc, folders: tuple[Path, Path]) -> None:
    said = fresh.prompt(folders[0], [line.replace("Birthmark", "Internet Explorer") for line in INTO])
    assert said.code == 1
    assert "has other files in it: name a new folder" in said.err.decode()


def test_each_line_for_windows_is_walked_or_left_out_by_name() -> None:
    printed = re.findall(r"(?m)^    (\S.*\\\w.*)$|`(icacls [^`]+)`", _PAGE)
    assert {block or inline for block, inline in printed} == {*INSTALL, SERVICE, *LEFT_OUT}


def test_the_hashes_that_wine_cannot_tell(fresh: FreshPc, folders: tuple[Path, Path]) -> None:
    """Compared here. Once Wine has such programs this fails, and their lines can be walked."""
    wheelhouse = folders[0] / "wheelhouse"
    digest = hashlib.sha256((wheelhouse / "install.py").read_bytes()).hexdigest()
    assert f"{digest}  install.py\n" in (wheelhouse / "SHA256SUMS").read_text("utf-8")
    for stub in STUBS:
        said = fresh.pc.tool(stub, "-hashfile", windows_path(wheelhouse / "install.py"), "SHA256")
        assert (said.code, said.out) == (0, b"")


def test_it_is_a_station(walked: Walked) -> None:
    assert walked.station.installed.code == 0, walked.station.installed
    assert walked.station.key_mode & 0o007 == 0
    bad = re.findall(r"(?m)^BAD +(\S+)", walked.doctor.text)
    assert bad == ["ports"], walked.doctor  # Wine lists no port by itself
    assert walked.done.code == 0, walked.done
    assert walked.stored == set(walked.chips)


def test_it_is_a_service_from_a_folder_with_a_blank_in_its_name(walked: Walked) -> None:
    assert walked.serving.code == 0, walked.serving
    assert walked.removed.code == 0, walked.removed
