"""`signerd backup` and `signerd restore`, as a disk is lost, and as docs/operations.md prints them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.installation import SENSOR, Installation
from harness.process import COMMANDS, REPOSITORY, run, wait_until
from harness.signerd_commands import SIGNERD, change
from signerd.adapters.head_file import HeadFile
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.note import parse_vkey

pytestmark = pytest.mark.check


@dataclass(frozen=True)
class Lost:
    """An installation whose disk is gone. Its second place and its token were on other disks."""

    installation: Installation
    newest: Path  # the last backup
    earlier: Path  # before an entry that was published
    about: dict[str, Any]  # what the command said of the newest
    files: dict[str, tuple[bytes, int]]  # name -> content and mode, as they were

    @property
    def second_place(self) -> Path:
        return self.installation.directory / "second" / "checkpoint"


def on_disks_of_their_own(installation: Installation) -> None:
    """Second place, token and PIN."""
    home, directory = installation.home, installation.directory
    for name, there in (("head", "second"), ("softhsm", "token"), ("hsm.pin", "pin")):
        (home / name).rename(directory / there)
    change(installation, '"head/checkpoint"', f'"{directory}/second/checkpoint"')
    change(installation, f'"{home}/softhsm/', f'"{directory}/token/')
    change(installation, '"file:hsm.pin"', f'"file:{directory}/pin"')
    configuration = directory / "token" / "softhsm2.conf"
    text = configuration.read_text("utf-8").replace(f"{home}/softhsm", f"{directory}/token")
    configuration.write_text(text, "utf-8")


def die(installation: Installation) -> None:
    """With its disk: a stop would be an entry, which the backup of before does not have."""
    installation.process.kill()
    wait_until(lambda: not installation.process.running(), "signerd to die")


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    with Installation(tmp_path_factory.mktemp("backup") / "line") as installation:
        on_disks_of_their_own(installation)
        installation.start_signerd()
        earlier, newest = installation.directory / "earlier", installation.directory / "newest"
        installation.admin("backup", "--out", earlier)
        installation.add_product(SENSOR)
        about = json.loads(installation.admin("backup", "--out", newest, "--json"))
        die(installation)
        files = contents(installation.home)
        shutil.rmtree(installation.home)
        yield Lost(installation, newest, earlier, about, files)


def contents(home: Path) -> dict[str, tuple[bytes, int]]:
    files = [
        path for folder in ("", "ca", "operations") for path in (home / folder).iterdir() if path.is_file()
    ]
    made_anew = {".sqlite", ".sqlite-wal", ".sqlite-shm", ".port"}
    kept = [path for path in files if path.suffix not in made_anew]
    return {str(path.relative_to(home)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in kept}


def restore(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [SIGNERD, "restore", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_all_is_as_it_was(lost: Lost, tmp_path: Path) -> None:
    assert lost.about["not_in_it"] == []
    assert lost.newest.stat().st_mode & 0o777 == 0o600
    code, said = restore(lost.newest, tmp_path / "home")
    assert (code, f"{lost.about['ledger_size']} ledger entries" in said) == (0, True), said
    assert contents(tmp_path / "home") == lost.files
    assert (tmp_path / "home" / "signerd.sqlite").stat().st_mode & 0o777 == 0o600
    again = run([SIGNERD, "check-config", "--login", "-c", tmp_path / "home" / "signerd.toml"])
    assert "WRONG" not in again


def test_one_that_is_behind_what_was_published_is_refused(lost: Lost, tmp_path: Path) -> None:
    code, said = restore(lost.earlier, tmp_path / "home")
    assert (code, "a restored backup?" in said) == (3, True), said
    assert list((tmp_path / "home").iterdir()) == []


def test_where_the_second_place_is_lost_too(lost: Lost, tmp_path: Path) -> None:
    newest = tmp_path / "newest"
    lost.second_place.rename(newest)
    code, said = restore(lost.newest, tmp_path / "home")
    assert (code, "--checkpoint" in said) == (3, True), said
    other = tmp_path / "other"
    other.write_bytes(newest.read_bytes().replace(b"\n", b"x\n", 1))
    code, said = restore(lost.newest, tmp_path / "home", "--checkpoint", other)
    assert (code, "is no checkpoint of the log" in said) == (3, True), said
    code, said = restore(lost.earlier, tmp_path / "home", "--checkpoint", newest)
    assert (code, "a restored backup?" in said) == (3, True), said
    assert list((tmp_path / "home").iterdir()) == []
    assert not lost.second_place.exists()
    code, said = restore(lost.newest, tmp_path / "home", "--checkpoint", newest)
    assert (code, lost.second_place.read_bytes()) == (0, newest.read_bytes()), said
    code, said = restore(lost.newest, tmp_path / "again", "--checkpoint", newest)
    assert (code, "leave out --checkpoint" in said) == (3, True), said


def test_nothing_is_written_over(lost: Lost, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    there = tmp_path / "home" / "notes"
    there.write_text("mine", "utf-8")
    code, said = restore(lost.newest, tmp_path / "home")
    assert (code, "is not empty" in said) == (3, True), said
    assert [path.name for path in there.parent.iterdir()] == ["notes"]


def test_beside_a_signerd_that_runs_on_the_second_place(lost: Lost, tmp_path: Path) -> None:
    key = parse_vkey(lost.files["log.vkey"][0].decode().strip())
    with closing(HeadFile(lost.second_place, LogKeys.first(key))):
        code, said = restore(lost.newest, tmp_path / "home")
    assert (code, "another signerd holds" in said) == (75, True), said
    assert list((tmp_path / "home").iterdir()) == []


def test_one_that_is_killed_leaves_no_installation(lost: Lost, tmp_path: Path) -> None:
    home, content = tmp_path / "home", lost.newest.read_bytes()
    with subprocess.Popen([SIGNERD, "restore", "-", home], stdin=subprocess.PIPE) as killed:
        assert killed.stdin is not None
        killed.stdin.write(content[: len(content) * 9 // 10])
        killed.stdin.flush()
        wait_until(lambda: home.is_dir() and any(home.iterdir()), "the first file")
        killed.kill()
    assert not (home / "signerd.toml").exists()
    code, said = restore(lost.newest, home)
    assert (code, "is not empty" in said) == (3, True), said
    shutil.rmtree(home)
    assert restore(lost.newest, home)[0] == 0


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / "line") as installation:
        on_disks_of_their_own(installation)
        installation.start_signerd()
        yield installation


def test_the_pages_commands(installation: Installation) -> None:
    """With the paths of this installation for the page's, and nothing else changed."""
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    section = page[page.index("## Backup and restore") : page.index("### A backup was restored")]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert len(blocks) == 3
    recipient, backup, restoring = (re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    shell(installation, recipient)
    shell(installation, backup)
    die(installation)
    shutil.rmtree(installation.home)
    shell(installation, restoring.replace("systemctl enable --now signerd\n", ""))
    installation.start_signerd()


def shell(installation: Installation, script: str) -> None:
    here = script.replace("/etc/signerd", str(installation.home))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=installation.directory,
        env={"PATH": f"{COMMANDS}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
