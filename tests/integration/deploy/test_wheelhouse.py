"""deploy/wheelhouse.sh makes a folder. The lines of docs/operations.md install from it, without a network and
as a user who may do nothing else. What is wrong with a folder is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.process import REPOSITORY
from tokens import presence

_PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
_COLLECT = REPOSITORY / "deploy" / "wheelhouse" / "collect.py"
_SOURCE_WHEELS = REPOSITORY / "deploy" / "wheelhouse" / "source_wheels.py"
_NOBODY = "65534"
_TYPED = {f"{name}/py.typed" for name in ("agent", "auditor", "birthmark", "signerd")}


def _run(command: list[str | Path], *, cwd: Path = REPOSITORY, expect: int = 0, **more: str) -> str:
    environment = {**os.environ, **more}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == expect, (command, done.stdout + done.stderr)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="birthmark-wheelhouse-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def wheelhouse(place: Path) -> Path:
    """By the page's line, but with the program that has most."""
    (printed,) = re.findall(r"^    (deploy/wheelhouse\.sh) wheelhouse signerd$", _PAGE, re.MULTILINE)
    folder = place / "wheelhouse"
    said = _run([printed, folder, "agent-esp32"])
    assert hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest() in said
    return folder


@pytest.fixture(scope="module")
def installed(wheelhouse: Path) -> Path:
    """By the page's lines, in a network with nothing in it, by a user who owns one folder."""
    if os.geteuid() != 0:
        presence.skip("a network of one's own, and another user in it, need root")
    (lines,) = re.findall(r"^(    sha256sum wheelhouse/SHA256SUMS\n(?:    .+\n)+)", _PAGE, re.MULTILINE)
    place = wheelhouse.parent
    home = place / "home"
    home.mkdir()
    os.chown(home, int(_NOBODY), int(_NOBODY))
    script = lines.replace("/opt/birthmark", str(home / "birthmark"))
    user = ("setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", "--no-new-privs")
    inside: list[str | Path] = ["unshare", "--net", *user, "sh", "-euc"]
    no_way = "import socket; socket.create_connection(('127.0.0.1', 1))"
    assert "unreachable" in _run([*inside, f'python3 -c "{no_way}"'], cwd=place, expect=1, HOME=str(home))
    _run([*inside, script], cwd=place, HOME=str(home), PIP_FIND_LINKS="/nonexistent")
    return home / "birthmark"


@pytest.mark.check
@pytest.mark.parametrize(
    "command",
    [
        ("birthmark-agent", "--help"),
        (
            "birthmark-agent",
            "enroll",
            "--dir",
            "station",
            "--deployment",
            "d",
            "--site",
            "s",
            "--name",
            "pc1",
        ),
        ("esptool", "version"),
    ],
)
def test_a_pc_without_a_network_installs_from_the_folder(installed: Path, command: tuple[str, ...]) -> None:
    program, *arguments = command
    assert _run([installed / "bin" / program, *arguments], cwd=installed)


@pytest.mark.check
@pytest.mark.usefixtures("installed")
def test_the_folders_files_are_those_of_its_lock(wheelhouse: Path) -> None:
    locked = re.findall(r"--hash=sha256:(\w+)$", (wheelhouse / "requirements.txt").read_text(), re.MULTILINE)
    digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheelhouse.glob("*.whl")]
    assert sorted(locked) == sorted(digests)
    pinned = (REPOSITORY / "requirements" / "agent-esp32.txt").read_text("utf-8")
    assert [digest for digest in digests if digest not in pinned] == [
        hashlib.sha256(next(wheelhouse.glob("birthmark-*")).read_bytes()).hexdigest()
    ]


def _exchange(folder: Path) -> str:
    wheel = next(folder.glob("smp-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"\x01")
    return f"{wheel.name} is not the file that was put here"


def _lose(folder: Path) -> str:
    wheel = next(folder.glob("smp-*.whl"))
    wheel.unlink()
    return f"{wheel.name} is missing"


def _add(folder: Path) -> str:
    shutil.copyfile(next(folder.glob("smp-*.whl")), folder / "smp-4.2.1-py3-none-any.whl")
    return "smp-4.2.1-py3-none-any.whl does not belong here"


def _for_another_python(folder: Path) -> str:
    _describe(folder, python="3.9")
    return "this folder is for Python 3.9"


def _for_another_platform(folder: Path) -> str:
    _describe(folder, platform="win_amd64")
    return "this folder is for win_amd64"


def _describe(folder: Path, **changed: str) -> None:
    file = folder / "wheelhouse.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changed}), "utf-8")


def _without_sums(folder: Path) -> str:
    (folder / "SHA256SUMS").unlink()
    return "this folder is not whole"


@pytest.mark.check
@pytest.mark.parametrize(
    "spoil", [_exchange, _lose, _add, _for_another_python, _for_another_platform, _without_sums]
)
def test_a_folder_that_is_not_as_it_was_made(
    spoil: Callable[[Path], str], wheelhouse: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "wheelhouse"
    shutil.copytree(wheelhouse, folder)
    word = spoil(folder)
    assert f"install: {word}" in _run(["python3", folder / "install.py", tmp_path / "made"], expect=1)
    assert not (tmp_path / "made").exists()


@pytest.mark.check
def test_a_wheel_exchanged_with_its_line_in_the_sums_is_refused_by_pip(
    wheelhouse: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "wheelhouse"
    shutil.copytree(wheelhouse, folder)
    wheel = next(folder.glob("smp-*.whl"))
    before = hashlib.sha256(wheel.read_bytes()).hexdigest()
    _exchange(folder)
    sums = folder / "SHA256SUMS"
    sums.write_text(
        sums.read_text("utf-8").replace(before, hashlib.sha256(wheel.read_bytes()).hexdigest()), "utf-8"
    )
    said = _run(["python3", folder / "install.py", tmp_path / "made"], expect=1)
    assert "DO NOT MATCH THE HASHES" in said


@pytest.mark.check
def test_the_projects_wheel_and_those_of_sources_are_the_same_bytes_wherever_they_are_made(
    tmp_path: Path,
) -> None:
    """Another folder, another umask, and years later by the files' dates."""
    copy = tmp_path / "elsewhere" / "checkout"
    for name in ("agent", "auditor", "deploy", "LICENSES", "proto", "requirements", "signerd"):
        shutil.copytree(
            REPOSITORY / name,
            copy / name,
            copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("LICENSE", "README.md", "pyproject.toml", ".gitignore"):
        shutil.copyfile(REPOSITORY / name, copy / name)
        os.utime(copy / name, (2_000_000_000, 2_000_000_000))
    made: list[dict[str, str]] = []
    for number, (root, umask) in enumerate(((REPOSITORY, "022"), (copy, "077"))):
        out = tmp_path / str(number)
        builder = root / _SOURCE_WHEELS.relative_to(REPOSITORY)
        for option in ("", "--project"):
            _run(
                ["sh", "-euc", f'umask {umask}; exec "$0" "$1" {option} "$2"', sys.executable, builder, out],
                cwd=tmp_path,
            )
        made.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()})
    assert made[0] == made[1]
    assert sorted(name.partition("-")[0] for name in made[0]) == ["birthmark", "crcmod", "esptool"]
    (wheel,) = (tmp_path / "0").glob("birthmark-*")
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) >= _TYPED


@pytest.mark.check
def test_the_source_archive_is_the_same_twice_and_typed_too(tmp_path: Path) -> None:
    """hatchling's sdist, dated by the tool and not by the clock."""
    made = []
    for number in ("0", "1"):
        _run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path / number])
        (archive,) = (tmp_path / number).glob("birthmark-*.tar.gz")
        made.append(archive.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(archive) as packed:
        inside = {name.partition("/")[2].removeprefix("proto/") for name in packed.getnames()}
    assert inside >= _TYPED


@pytest.mark.check
def test_a_built_wheel_of_another_digest_than_the_locks_is_refused(tmp_path: Path) -> None:
    """As if a tool had been exchanged: the lock's digest differs in one digit."""
    for name in ("deploy", "requirements"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    lock = tmp_path / "requirements" / "agent.txt"
    entry = re.search(r"(?m)^crcmod==.*\n    --hash=sha256:\w+$", lock.read_text("utf-8"))
    assert entry is not None
    digit = "1" if entry[0].endswith("0") else "0"
    lock.write_text(f"{entry[0][:-1]}{digit}\n", "utf-8")
    said = _run(
        [sys.executable, tmp_path / _COLLECT.relative_to(REPOSITORY), tmp_path / "out", "agent"], expect=1
    )
    assert "wheelhouse: pip could not get what the requirement files pin" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--python", "3.10", "new", "agent"), "no Python 3.10: 3.11, 3.12, 3.13"),
        (("--platform", "macosx", "new", "agent"), "no platform macosx: linux_x86_64, win_amd64"),
        (("new", "birthmark"), "no program birthmark: agent, agent-esp32"),
        (("full", "agent"), "full is not empty"),
        (("--platform", "win_amd64", "new", "signerd-tpm"), "is built against the TSS of its machine"),
    ],
)
def test_a_folder_that_cannot_be_made(arguments: tuple[str, ...], word: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert word in _run([sys.executable, _COLLECT, *arguments], cwd=tmp_path, expect=1)
    assert not (tmp_path / "new").exists()
