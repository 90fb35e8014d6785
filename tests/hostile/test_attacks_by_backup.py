"""Archives that are no backup, cut or altered, and disks that end: `signerd restore` leaves nothing."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from harness.installation import Installation
from harness.signerd_commands import change
from signerd.adapters import backup
from signerd.adapters.backup_archive import MAX_FILE
from signerd.errors import ConfigError

pytestmark = pytest.mark.check

Said = dict[str, Any]
PLACES = 200  # in the archive, where it is cut or altered
SEED = 20261129


class Archive:
    """A genuine backup, and others made of its parts."""

    def __init__(self, file: Path) -> None:
        self.data = file.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(self.data)) as archive:
            parts = [(member.name, archive.extractfile(member)) for member in archive]
        self.members = {name: content.read() for name, content in parts if content is not None}
        self.first, *_ = self.members

    def made(
        self,
        alter: Callable[[Said], None] = lambda _said: None,
        headers: Mapping[str, tarfile.TarInfo] = MappingProxyType({}),
    ) -> bytes:
        """Altered in what the first member says; `headers` of tar's go where their name is."""
        said = json.loads(self.members[self.first])
        alter(said)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name, content in {**self.members, self.first: json.dumps(said).encode()}.items():
                header = headers.get(name) or tarfile.TarInfo(name)
                header.size = len(content) if header.isreg() else 0
                archive.addfile(header, io.BytesIO(content))
        return stream.getvalue()

    def renamed(self, name: str) -> bytes:
        """With `log.vkey` under another name, in both places."""

        def alter(said: Said) -> None:
            (entry,) = (entry for entry in said["files"] if entry["name"] == "log.vkey")
            entry["name"] = name

        before = self.members
        try:
            self.members = {name if old == "log.vkey" else old: content for old, content in before.items()}
            return self.made(alter)
        finally:
            self.members = before


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Installation(tmp_path_factory.mktemp("line") / "line") as installation:
        second = installation.directory / "second"
        (installation.home / "head").rename(second)
        change(installation, '"head/checkpoint"', f'"{second}/checkpoint"')
        with (installation.directory / "backup").open("wb") as stream:
            backup.back_up(installation.config, stream)
        yield Archive(installation.directory / "backup")


def refused(data: bytes, directory: Path) -> str:
    """What is said; nothing is in the directory, or beside it.

    A genuine archive is refused too, last of all: a checkpoint is given, and no second place is lost.
    """
    beside = sorted(directory.parent.iterdir())
    with pytest.raises(ConfigError) as error:
        backup.restore(io.BytesIO(data), directory, b"")
    assert list(directory.iterdir()) == []
    directory.rmdir()
    assert sorted(directory.parent.iterdir()) == beside
    return str(error.value)


def test_this_archive_is_one_but_for_a_second_place_too_many(archive: Archive, tmp_path: Path) -> None:
    for data in (archive.data, archive.made()):
        assert "the second place" in refused(data, tmp_path / "home")


def test_cut_or_altered_anywhere(archive: Archive, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    ends = sum(map(len, archive.members.values()))
    for _ in range(PLACES):
        place = chance.randrange(ends)
        said = refused(archive.data[:place], tmp_path / "home")
        assert "the second place" not in said, place
    content = archive.data.index(archive.members["database"][:64])
    for _ in range(PLACES):
        place = content + chance.randrange(len(archive.members["database"]))
        altered = bytearray(archive.data)
        altered[place] ^= 1 << chance.randrange(8)
        assert "damaged" in refused(bytes(altered), tmp_path / "home"), place


@pytest.mark.parametrize(
    "name",
    ["../log.vkey", "/etc/passwd", "a/../../b", ".ssh/key", "a//b", "a/./b", "", "a\0b", "a" * 101, "ca\\x"],
)
def test_names_that_leave_the_directory(archive: Archive, tmp_path: Path, name: str) -> None:
    assert "no name" in refused(archive.renamed(name), tmp_path / "home")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_what_is_no_file(archive: Archive, tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("log.vkey")
    header.type, header.linkname = kind, str(tmp_path / "elsewhere")
    said = refused(archive.made(headers={"log.vkey": header}), tmp_path / "home")
    assert "cut or altered" in said


def _set(name: str, value: object, *, of: str | None = None) -> Callable[[Said], None]:
    def alter(said: Said) -> None:
        where = said if of is None else next(entry for entry in said["files"] if entry["name"] == of)
        where[name] = value

    return alter


def _twice(said: Said) -> None:
    said["files"].append(said["files"][-1])


def _without_settings(said: Said) -> None:
    said["files"] = [entry for entry in said["files"] if entry["name"] != "signerd.toml"]


def _without_the_last(said: Said) -> None:
    del said["files"][-1]


@pytest.mark.parametrize(
    "alter",
    [
        _set("birthmark-backup", 2),
        _set("birthmark-backup", "1"),
        _set("files", []),
        _set("files", {"name": "database"}),
        _set("ledger_size", -1),
        _set("ledger_size", 1.0),
        _set("origin", "o" * 1000),
        _set("made", "\x1b[2J"),
        _set("made", "yesterday"),
        _set("made", "0001-01-01T00:00:00Z"),
        _set("made", "2026-11-30T00:00:00+00:00"),
        _set("mode", 0o4755, of="signerd.toml"),
        _set("mode", "0600", of="signerd.toml"),
        _set("size", MAX_FILE + 1, of="signerd.toml"),
        _set("size", True, of="signerd.toml"),
        _set("size", 1 << 62, of="database"),
        _set("sha256", "0" * 64, of="database"),
        _set("more", 1, of="database"),
        _twice,
        _without_settings,
        _without_the_last,
    ],
)
def test_a_first_member_that_lies(archive: Archive, tmp_path: Path, alter: Callable[[Said], None]) -> None:
    assert "the second place" not in refused(archive.made(alter), tmp_path / "home")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 10_240, b"SQLite format 3\0" * 1000, b"\x1f\x8b\x08" + b"\0" * 600]
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    assert "no backup" in refused(data, tmp_path / "home")


def test_a_disk_that_ends_at_each_write(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore fails at its first durable write, its second and so on, until one has none that fails."""
    home, sync = tmp_path / "home", os.fsync
    left = 0

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for number in itertools.count(1):
        left = number
        with suppress(OSError):
            backup.restore(io.BytesIO(archive.data), home, None)
            break
        assert list(home.iterdir()) == []
    assert number > len(archive.members)
    assert (home / "signerd.toml").exists()
