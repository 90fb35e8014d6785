"""The sources of the Debian packages, not built: tests/e2e/test_agent_package.py does that."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.process import REPOSITORY, run
from tokens import presence

FOLDER = REPOSITORY / "deploy" / "packages"
SCRIPTS = sorted(
    path
    for each in ("preinst.in", "*.postinst", "*.prerm", "*.postrm")
    for path in FOLDER.glob(f"debian/{each}")
)
KEPT = {
    "signerd": (
        *("etc/signerd", "etc/signerd-key"),
        *("var/lib/signerd", "var/lib/signerd-head", "var/lib/signerd-key"),
    ),
    "agent": ("etc/birthmark-agent", "var/lib/birthmark-agent"),
}
UNITS = REPOSITORY / "deploy" / "systemd"


def _found(program: str) -> Path | None:
    path = shutil.which(program)
    return Path(path) if path else None


def _third_party() -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party", FOLDER / "third_party.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_maintainers_script_is_sound(script: Path) -> None:
    """dpkg runs them as root, by the shell that Debian has."""
    presence.skip(presence.missing("a reader of shell", dash=_found("dash"), shellcheck=_found("shellcheck")))
    run(["dash", "-n", script])
    run(["shellcheck", "--shell=dash", script])


def _purged(program: str, root: Path) -> subprocess.CompletedProcess[str]:
    """The script that dpkg runs last, on a system whose folders are here."""
    text = (FOLDER / "debian" / f"birthmark-{program}.postrm").read_text("utf-8")
    script = re.sub(r"(?<![\w/])/(etc|var)/", rf"{root}/\1/", text)
    return subprocess.run(["sh", "-s", "purge"], input=script, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("program", list(KEPT))
def test_purging_takes_nothing_away(program: str, tmp_path: Path) -> None:
    for each in KEPT[program]:
        (tmp_path / each).mkdir(parents=True)
        (tmp_path / each / "key").write_text("the only copy", "ascii")
    said = _purged(program, tmp_path).stderr
    for each in KEPT[program]:
        assert f"kept {tmp_path}/{each}" in said
        assert (tmp_path / each / "key").read_text("ascii") == "the only copy"


@pytest.mark.parametrize("program", list(KEPT))
def test_purging_takes_folders_in_which_nothing_is(program: str, tmp_path: Path) -> None:
    """One that lies on another disk, by a link, stays."""
    other, first, *more = (tmp_path / each for each in ("disk", *KEPT[program]))
    for each in (other, *more):
        each.mkdir(parents=True)
    first.parent.mkdir(parents=True, exist_ok=True)
    first.symlink_to(other)
    assert "kept" in _purged(program, tmp_path).stderr
    assert [each for each in (first, *more) if each.exists()] == [first]


def test_a_purged_station_begins_nothing_when_it_is_installed_again(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for each in ("birthmark-agent@WO-1.service", "signerd.service"):
        (wants / each).symlink_to("/dev/null")
    _purged("agent", tmp_path)
    assert [path.name for path in wants.iterdir()] == ["signerd.service"]


PROGRAMS = ("signerd", "agent", "auditor")


def _script(program: str, name: str, root: Path, *arguments: str) -> None:
    """A maintainer's script, on a system whose programs are here."""
    folder = FOLDER / "debian"
    file = folder / "preinst.in" if name == "preinst" else folder / f"birthmark-{program}.{name}"
    text = file.read_text("utf-8").replace("@PROGRAM@", program)
    script = text.replace("=/usr/lib/", f"={root}/usr/lib/")
    run(["sh", "-c", script, name, *arguments])


def _unpacked(program: str, root: Path) -> Path:
    """As dpkg leaves it, with a command that prints 1."""
    folder = root / "usr/lib/birthmark" / program
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n", "ascii")
    # Where the link leads that postinst makes.
    (root / "usr/bin").mkdir()
    (root / "usr/bin" / f"python{version}").symlink_to(sys.executable)
    command = folder / "bin" / "command"
    command.write_text(f"#!{folder}/bin/python3\nprint(1)\n", "ascii")
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("put_back", [("postinst", "abort-upgrade"), ("postrm", "abort-upgrade")])
def test_nothing_starts_while_files_are_replaced(
    program: str, put_back: tuple[str, str], tmp_path: Path
) -> None:
    command = _unpacked(program, tmp_path)
    _script(program, *put_back[:1], tmp_path, put_back[1], "0.1.0-1")
    assert run([command]) == "1\n"
    _script(program, "preinst", tmp_path, "upgrade", "0.1.0-1")
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, "")
    assert f"birthmark-{program}" in done.stderr
    section = done.stderr.partition('"')[2].partition('"')[0]
    assert f"### {section}\n" in (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    _script(program, *put_back[:1], tmp_path, put_back[1], "0.1.0-1")
    assert run([command]) == "1\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_first_installation_finds_nothing_to_take(program: str, tmp_path: Path) -> None:
    _script(program, "preinst", tmp_path, "install")
    _script(program, "postrm", tmp_path, "abort-install")
    assert list(tmp_path.iterdir()) == []


def test_every_unit_and_only_those_are_in_a_package() -> None:
    installed = "".join(path.read_text("utf-8") for path in FOLDER.glob("debian/*.install"))
    assert set(re.findall(r"\S+\.service", installed)) == {path.name for path in UNITS.glob("*.service")}


def test_users_and_folders_are_those_of_the_units() -> None:
    """A folder that tmpfiles.d makes for another user, or open, would be another one than the unit's."""
    for program in ("signerd", "agent"):
        users = (FOLDER / "debian" / f"birthmark-{program}.sysusers").read_text("utf-8")
        folders = (FOLDER / "debian" / f"birthmark-{program}.tmpfiles").read_text("utf-8")
        known = set(re.findall(r"^u (\S+)", users, re.MULTILINE))
        units = [path.read_text("utf-8") for path in UNITS.glob("*.service")]
        asked = {found[1] for text in units if (found := re.search(r"^User=(\S+)", text, re.MULTILINE))}
        assert known <= asked
        for mode, user, group in re.findall(r"^d \S+ :?(\d+) :?(\S+) :?(\S+)", folders, re.MULTILINE):
            assert (mode, user, group) == ("0700", user, user)
            assert user in known


def test_what_is_carried_is_listed_with_its_licence(tmp_path: Path) -> None:
    site = tmp_path / "agent" / "lib" / "python3.13" / "site-packages"
    for name, lines, text in (
        ("b-2.dist-info", "Name: b\nVersion: 2\nLicense-Expression: MIT", "licenses/LICENSE"),
        (
            "A-1.dist-info",
            "Name: A\nVersion: 1\nClassifier: License :: OSI Approved :: BSD License",
            "LICENSE.txt",
        ),
    ):
        file = site / name / text
        file.parent.mkdir(parents=True)
        file.write_text("the text", "utf-8")
        (site / name / "METADATA").write_text(f"Metadata-Version: 2.4\n{lines}\n", "utf-8")
    where = "agent/lib/python3.13/site-packages"
    assert _third_party().described(tmp_path / "agent").splitlines() == [
        "A 1: BSD License",
        f"    {where}/A-1.dist-info/LICENSE.txt",
        "b 2: MIT",
        f"    {where}/b-2.dist-info/licenses/LICENSE",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the folder"),
        (["--release", "debian11", "x"], "no release debian11"),
        (["x", "birthmark-gateway"], "no package birthmark-gateway"),
        (["--revision", "a", "x"], "--revision wants a number"),
        (["--fast", "x"], "no option --fast"),
    ],
)
def test_the_builder_refuses_what_it_does_not_know(arguments: list[str], said: str) -> None:
    command = [str(FOLDER / "build.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
