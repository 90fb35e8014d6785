"""A process that dies between any two steps, a disk that is full, links, and a umask."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.process import REPOSITORY
from signerd.adapters import durable_files
from signerd.adapters.durable_files import NotSyncedError, fill, replace, write_many_new, write_new

# The n-th call of the functions that change the disk ends the process, before or after its work.
DIES = """
import os, pathlib, signal, sys
from signerd.adapters import durable_files
path, function, name, count, when = pathlib.Path(sys.argv[1]), *sys.argv[2:]
module = pathlib.Path if name == "replace" else os
real, left = getattr(module, name), [int(count)]
def dies(*arguments, **named):
    left[0] -= 1
    if left[0] == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*arguments, **named)
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(module, name, dies)
getattr(durable_files, function)(path, b"new content", 0o640)
"""
STEPS = [("open", "1"), ("fchmod", "1"), ("fsync", "1"), ("fsync", "2")]
WHEN = ["before", "after"]


def dies(path: Path, function: str, name: str, count: str, when: str) -> None:
    command = [sys.executable, "-c", DIES, str(path), function, name, count, when]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=60, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(("name", "count"), [*STEPS, ("replace", "1")])
def test_a_replacement_that_dies_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, name: str, count: str, when: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    dies(path, "replace", name, count, when)
    renamed = (name, count) == ("fsync", "2") or (name, when) == ("replace", "after")
    assert path.read_bytes() == (b"new content" if renamed else b"old content")
    replace(path, b"next", 0o600)  # what was left is in nobody's way
    assert path.read_bytes() == b"next"


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(("name", "count"), STEPS)
def test_a_new_file_that_dies_is_never_open_to_others_before_it_should(
    tmp_path: Path, name: str, count: str, when: str
) -> None:
    path = tmp_path / "file"
    dies(path, "write_new", name, count, when)
    assert path.exists() != ((name, when) == ("open", "before"))
    if path.exists():
        assert path.read_bytes() in {b"", b"new content"}
        assert path.stat().st_mode & 0o777 in {0o600, 0o640}
        with pytest.raises(FileExistsError):
            write_new(path, b"again", 0o600)


def test_order_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode before the content, the content before the name, the name before the return."""
    seen: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            where = ""
            if isinstance(first, int):
                is_directory = os.path.isdir(f"/proc/self/fd/{first}")  # noqa: PTH112
                where = " directory" if is_directory else f" {os.fstat(first).st_size} bytes"
            seen.append(f"{name}{where}")
            return real(first, *rest, **named)

        return call

    for name in ("fchmod", "fsync"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    monkeypatch.setattr(Path, "replace", watched("replace", Path.replace))
    replace(tmp_path / "file", b"12345", 0o600)
    assert seen == ["fchmod 0 bytes", "fsync 5 bytes", "replace", "fsync directory"]
    seen.clear()
    write_new(tmp_path / "new", b"12345", 0o600)
    fill(tmp_path / "new", b"123456")
    assert seen == [
        *("fchmod 0 bytes", "fsync 5 bytes", "fsync directory"),
        *("fsync 6 bytes", "fsync directory"),
    ]
    seen.clear()
    write_many_new(tmp_path, {"a": b"1", "b": b"2"}, 0o600)
    assert [each for each in seen if each.startswith("fsync")] == [*["fsync 1 bytes"] * 2, "fsync directory"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_is_the_one_that_was_asked_for(tmp_path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_new(tmp_path / "new", b"1", mode)
        replace(tmp_path / "new", b"2", mode)
        write_many_new(tmp_path, {"many": b"3"}, mode)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "many")] == [mode, mode]


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    for name in ("link", "dangling"):
        (tmp_path / name).symlink_to(target if name == "link" else tmp_path / "nothing")
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"ours", 0o600)
    with pytest.raises(OSError, match="link"):
        fill(tmp_path / "link", b"ours")
    replace(tmp_path / "link", b"ours", 0o600)  # the link goes, and what it named stays
    assert (target.read_bytes(), (tmp_path / "link").is_symlink()) == (b"theirs", False)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("function", [write_new, replace])
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[Path, bytes, int], None]
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        function(tmp_path / "file", b"content", 0o600)
    assert failed.value.filename == str(tmp_path / "file")
    with pytest.raises(FileNotFoundError) as missing:
        function(tmp_path / "none" / "file", b"content", 0o600)
    assert missing.value.filename == str(tmp_path / "none" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(durable_files, "sync_directory", fails)
    with pytest.raises(NotSyncedError):
        replace(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    with pytest.raises(OSError, match="Input/output"):
        write_new(tmp_path / "other", b"new", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_nothing_else_of_signerd_writes_files_durably() -> None:
    """A sixth way would have its own mistakes."""
    allowed = {"signerd/adapters/durable_files.py"}
    found = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "signerd").rglob("*.py")
        if any(word in path.read_text("utf-8") for word in ("os.fsync", "os.O_EXCL", "os.replace("))
    }
    assert found == allowed
