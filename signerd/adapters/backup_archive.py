"""The form of a backup: a tar archive whose first member says what follows (docs/formats.md, "Backup").

    write(stream, about, {"database": copy, "signerd.toml": …})
    about = read(stream, begin)

A reader takes what the first member names, in that order, of that length and digest, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from signerd.errors import ConfigError

FORM = 1
MADE_FORM = "%Y-%m-%dT%H:%M:%SZ"
_EPOCH = 1970  # times of entries are seconds since then
DATABASE = "database"  # the member's name; where it goes, the settings say
SETTINGS = "signerd.toml"
MODES = frozenset({0o400, 0o600, 0o640, 0o644})
MAX_FILE = 16 * 1024 * 1024  # bytes of each but the database
MAX_FILES = 10_000
_ABOUT = "birthmark-backup.json"
_MAX_ABOUT = 4 * 1024 * 1024  # bytes
_MAX_TEXT = 200
_PART = 1024 * 1024  # bytes at once
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,7}")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the backup."""

    name: str  # relative to the installation's directory
    mode: int
    size: int  # bytes
    sha256: str  # lower-case hexadecimal


@dataclass(frozen=True, slots=True)
class About:
    """What the first member says."""

    made: str  # when, RFC 3339, UTC
    signerd: str  # the version that made it
    origin: str  # of the log
    ledger_size: int  # entries in the database
    ledger_root: str  # lower-case hexadecimal
    files: tuple[Member, ...]  # the database is the first

    @property
    def moment(self) -> datetime:
        """`made`, aware, UTC. Raises ValueError for another form."""
        return datetime.strptime(self.made, MADE_FORM).replace(tzinfo=UTC)


Place = Callable[[Member, IO[bytes]], None]  # takes the member's content


def member_of(name: str, path: Path) -> Member:
    """Reads the file once, for its digest. Raises OSError, and ConfigError for what a backup cannot hold."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
            size += len(part)
        mode = path.stat().st_mode & 0o777
    if not _NAME.fullmatch(name) or (name != DATABASE and size > MAX_FILE):
        raise ConfigError(
            f"{path} cannot be backed up: its name or its size ({size} bytes) is not a setting's"
        )
    return Member(name, mode if mode in MODES else 0o600, size, digest.hexdigest())


def write(stream: IO[bytes], about: About, sources: Mapping[str, Path]) -> None:
    """Writes the archive. Raises OSError; ConfigError if a file is no longer the one that `about` names."""
    first = json.dumps({"birthmark-backup": FORM, **asdict(about)}, indent=1).encode()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_header(_ABOUT, 0o600, len(first)), BytesIO(first))
        for member in about.files:
            with sources[member.name].open("rb") as file:
                reading = _Measured(file, member)
                try:
                    archive.addfile(_header(member.name, member.mode, member.size), reading)
                    reading.check("it is not as it was before")
                except (ConfigError, EOFError) as error:
                    path = sources[member.name]
                    raise ConfigError(
                        f"{path} changed while it was backed up: run the command again"
                    ) from error


def read(stream: IO[bytes], begin: Callable[[About], Place]) -> About:
    """Reads the archive: `begin` gets what it says of itself, and gives where the files go.

    What it hands on may be cut or altered until it returns: then everything was as the first member says.

    Raises:
        ConfigError: it is no backup, of a later form, cut or altered.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            about = _about(archive)
            place = begin(about)
            for member in about.files:
                _read_member(archive, member, place)
            if archive.next() is not None:
                raise ConfigError("the backup holds more files than it says")
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"this is no backup of signerd's, or it is cut: {error}") from error
    return about


def _header(name: str, mode: int, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.size = mode, size
    return header


def _read_member(archive: tarfile.TarFile, member: Member, place: Place) -> None:
    header = archive.next()
    if header is None or header.name != member.name or not header.isreg() or header.size != member.size:
        raise ConfigError(f"the backup is cut or altered: {member.name} is not where it says")
    content = archive.extractfile(header)
    if content is None:
        raise ConfigError(f"the backup is altered: {member.name} is no file")
    reading = _Measured(content, member)
    place(member, reading)  # type: ignore[arg-type] # reads it by `read` alone
    reading.check(f"the backup is damaged: {member.name} is not the file that was backed up")


class _Measured:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file, self._member = file, member
        self._digest, self._read = hashlib.sha256(), 0

    def read(self, size: int = _PART) -> bytes:
        """At most so many bytes."""
        part = self._file.read(size)
        self._digest.update(part)
        self._read += len(part)
        return part

    def check(self, otherwise: str) -> None:
        """Raises ConfigError unless exactly the member's bytes were read."""
        if (self._read, self._digest.hexdigest()) != (self._member.size, self._member.sha256):
            raise ConfigError(otherwise)


def _about(archive: tarfile.TarFile) -> About:
    header = archive.next()
    content = None
    if header is not None and header.name == _ABOUT and header.isreg() and header.size <= _MAX_ABOUT:
        content = archive.extractfile(header)
    if content is None:
        raise ConfigError("this is no backup of signerd's: it does not say what is in it")
    try:
        return _parsed(json.loads(content.read()))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"this is no backup that this signerd can read: {error}") from error


def _parsed(said: Mapping[str, Any]) -> About:
    if said["birthmark-backup"] != FORM:
        raise ValueError(f"its form is {said['birthmark-backup']!r:.20}, and not {FORM}")
    files = tuple(Member(**entry) for entry in said["files"])
    _check_files(files)
    about = About(
        made=_text(said["made"]),
        signerd=_text(said["signerd"]),
        origin=_text(said["origin"]),
        ledger_size=_count(said["ledger_size"]),
        ledger_root=_text(said["ledger_root"]),
        files=files,
    )
    if about.moment.year < _EPOCH:
        raise ValueError("its time is before all time")
    return about


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError("a text in it is none, or too long")
    return value


def _check_files(files: Sequence[Member]) -> None:
    names = [member.name for member in files]
    if names[:1] != [DATABASE] or SETTINGS not in names or len(set(names)) != len(names):
        raise ValueError("database or settings are missing, or a file is there twice")
    if len(files) > MAX_FILES:
        raise ValueError(f"{len(files)} files")
    for member in files:
        if not _NAME.fullmatch(member.name) or member.mode not in MODES:
            raise ValueError(f"{member.name!r:.80} is no name, or its mode none, of a backup's file")
        if _count(member.size) > MAX_FILE and member.name != DATABASE:
            raise ValueError(f"{member.name} is too large")


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number is none")
    return value
