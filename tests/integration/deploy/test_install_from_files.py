"""What is installed comes from files with known digests. No page takes it from a public index by name."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

from harness.process import REPOSITORY, run

_REQUIREMENTS = REPOSITORY / "requirements"
_LOCKS = sorted(_REQUIREMENTS.glob("*.txt"))
_BY_NAME = re.compile(r"pip\d? install\b[^\n`]*?(?<![\w./-])birthmark(?![\w./-])")


def test_no_text_installs_the_project_from_an_index() -> None:
    tracked = run(["git", "-C", REPOSITORY, "ls-files", "*.md", "*.py", "*.sh", "*.toml", "*Containerfile"])
    named = []
    for name in tracked.splitlines():
        file = REPOSITORY / name
        if name != "tests/integration/deploy/test_install_from_files.py" and file.exists():
            named += [(name, hit[0]) for hit in _BY_NAME.finditer(file.read_text("utf-8"))]
    assert named == []


@pytest.mark.parametrize(
    "text", ["pip install birthmark[agent]", "pip install 'birthmark[report]'", "pip3 install birthmark"]
)
def test_such_a_text_would_be_seen(text: str) -> None:
    assert _BY_NAME.search(text)


def test_what_is_published_as_source_is_locked_by_its_built_wheel() -> None:
    entry = re.compile(r"(?m)^(\S+)==(\S+) \\\n    --hash=sha256:(\w+)$")
    sources = {name: digest for name, _, digest in entry.findall((_REQUIREMENTS / "source.txt").read_text())}
    assert sorted(sources) == ["crcmod", "esptool"]
    for name, digest in sources.items():
        locked = [file.name for file in _LOCKS if f"\n{name}==" in file.read_text("utf-8")]
        by_source = [file.name for file in _LOCKS if digest in file.read_text("utf-8")]
        assert locked, name
        assert by_source == ["source.txt"]


@pytest.mark.parametrize("file", _LOCKS, ids=lambda file: file.name)
def test_each_entry_of_a_lock_has_a_digest_and_no_address(file: object) -> None:
    text = (_REQUIREMENTS / str(getattr(file, "name", file))).read_text("utf-8")
    entries = re.findall(r"(?m)^[\w.-]+==[^\n]*$", text)
    assert entries
    assert all(entry.endswith("\\") for entry in entries)
    assert "://" not in text


@pytest.fixture(name="collect")
def import_collect(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "deploy" / "wheelhouse")
    return importlib.import_module("collect")


def test_a_folder_has_what_its_platform_and_python_need(collect: ModuleType) -> None:
    def names(platform: str, python: str) -> dict[str, str]:
        return dict(collect.wanted_entries(["agent-esp32"], platform, python))

    assert set(names("win_amd64", "3.12")) - set(names("linux_x86_64", "3.12")) >= {"colorama"}
    old, new = names("linux_x86_64", "3.11")["numpy"], names("linux_x86_64", "3.13")["numpy"]
    assert old.partition(" ")[0] != new.partition(" ")[0]
