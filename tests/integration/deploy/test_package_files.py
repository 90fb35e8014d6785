"""The sources of the Debian packages, not built: tests/e2e/test_agent_package.py does that."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from harness.process import REPOSITORY, run
from tokens import presence

FOLDER = REPOSITORY / "deploy" / "packages"
SCRIPTS = sorted(
    path for each in ("preinst", "postinst", "prerm", "postrm") for path in FOLDER.glob(f"debian/*.{each}")
)
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


@pytest.mark.parametrize("program", ["signerd", "agent"])
def test_purging_takes_nothing_away(program: str, tmp_path: Path) -> None:
    """The script that dpkg runs last, on a system whose folders are here."""
    text = (FOLDER / "debian" / f"birthmark-{program}.postrm").read_text("utf-8")
    folders = re.findall(r"/(?:etc|var/lib)/[a-z-]+", text)
    assert len(folders) >= 2
    for each in folders:
        (tmp_path / each[1:]).mkdir(parents=True)
        (tmp_path / each[1:] / "key").write_text("the only copy", "ascii")
    script = re.sub(r"(?<![\w/])/(etc|var)/", rf"{tmp_path}/\1/", text)
    done = subprocess.run(["sh", "-s", "purge"], input=script, capture_output=True, text=True, check=True)
    for each in folders:
        assert f"kept {tmp_path}{each}" in done.stderr
        assert (tmp_path / each[1:] / "key").read_text("ascii") == "the only copy"


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
        for mode, user, group in re.findall(r"^d \S+ (\d+) (\S+) (\S+)", folders, re.MULTILINE):
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
