"""install.py over another installation, or one that broke off: only its own folder's files are there then."""

from __future__ import annotations

import hashlib
import importlib
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.process import REPOSITORY, run, wait_until

pytestmark = pytest.mark.check
Make = Callable[..., Path]
_INFO = "birthmark-0.1.0.dist-info"
_KIND = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_SAYS = "def main():\n    import birthmark_parts.last\n    print({word!r})\n"


@pytest.fixture(name="make")
def make_wheelhouses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes folders as deploy/wheelhouse.sh does, each with one small wheel whose command says a word."""
    monkeypatch.syspath_prepend(REPOSITORY / "deploy" / "wheelhouse")
    collect = importlib.import_module("collect")
    python, platform = f"3.{sys.version_info.minor}", sysconfig.get_platform().replace("-", "_")

    def make(word: str, *, parts: int = 1) -> Path:
        folder = tmp_path / f"wheelhouse-{word}"
        folder.mkdir()
        files = {  # what pip goes by comes first, so that it is there before the last part is
            f"{_INFO}/METADATA": "Metadata-Version: 2.1\nName: birthmark\nVersion: 0.1.0\n",
            f"{_INFO}/WHEEL": _KIND,
            f"{_INFO}/entry_points.txt": "[console_scripts]\nbirthmark-word = birthmark_word:main\n",
            "birthmark_word.py": _SAYS.format(word=word),
            **{f"birthmark_parts/part{number}.py": "" for number in range(parts)},
            "birthmark_parts/last.py": "",
        }
        rows = [f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items()]
        with zipfile.ZipFile(folder / "birthmark-0.1.0-py3-none-any.whl", "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)
            wheel.writestr(f"{_INFO}/RECORD", f"{''.join(rows)}{_INFO}/RECORD,,\n")
        collect.describe(folder, ["agent"], platform, python)
        return folder

    return make


def _digest(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _command(wheelhouse: Path, target: Path) -> list[str | Path]:
    return [sys.executable, wheelhouse / "install.py", target]


def _word(target: Path) -> str:
    return run([target / "bin" / "birthmark-word"]).strip()


def test_another_commit_of_the_same_version_takes_its_place(make: Make, tmp_path: Path) -> None:
    target = tmp_path / "Felső"  # in no code page of the next line
    environment = {**os.environ, "PYTHONIOENCODING": "cp437"}
    for word in ("first", "second"):
        assert "made anew" not in run(_command(make(word), target), environment=environment)
        assert _word(target) == word


def test_one_that_was_killed_is_made_whole_by_the_same_command(make: Make, tmp_path: Path) -> None:
    wheelhouse, target = make("whole", parts=4_000), tmp_path / "birthmark"
    with subprocess.Popen(_command(wheelhouse, target), start_new_session=True) as installing:
        wait_until(lambda: _begun(target), "half a package", timeout_s=60)
        os.killpg(installing.pid, signal.SIGKILL)
    (site,) = target.glob("lib/python*/site-packages")
    assert not (site / "birthmark_parts" / "last.py").exists()
    (target / "notes.txt").write_text("a person's own", "utf-8")
    assert "it is made anew" in run(_command(wheelhouse, target))
    assert _word(target) == "whole"
    assert (target / "notes.txt").exists()
    assert not (target / "birthmark-unfinished").exists()


def _begun(target: Path) -> bool:
    """pip has written down that the package is there, and is not through with its files."""
    return any(target.glob("lib/python*/site-packages/birthmark-*.dist-info/METADATA"))


def test_a_file_in_its_place_is_told_with_what_to_do(make: Make, tmp_path: Path) -> None:
    target = tmp_path / "birthmark"
    target.touch()
    done = subprocess.run(_command(make("word"), target), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(". Install as root, or name a folder that you may write\n")


def test_a_folder_of_other_files_is_refused_and_left_alone(make: Make, tmp_path: Path) -> None:
    target = tmp_path / "home"
    (target / "lib").mkdir(parents=True)
    wheelhouse = make("word")
    for _ in range(2):
        done = subprocess.run(_command(wheelhouse, target), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"install: {target} has other files in it: name a new folder\n"
        assert [each.name for each in target.iterdir()] == ["lib"]
