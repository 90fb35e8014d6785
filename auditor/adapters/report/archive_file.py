"""The zip file of a production file: written so that there is one encoding of given contents, and read so.

    with writing(path) as archive:
        archive.add(README, [b"..."])
    with Archive.open(path) as archive:          # every byte was looked at; Malformed where one is off
        archive.read(CHECKPOINT)

Each file is stored as it is (method 0, APPNOTE.TXT 4.4.5), so an archive never unpacks to more than it is.
The files follow each other from the first byte, then come the directory and its end. The reader makes the
directory that these files must have, and compares.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from zlib import crc32

from auditor.core.report.form import MAX_ARCHIVE, FileDigest, Names, max_size
from auditor.errors import ConfigError, Malformed

_CHUNK = 1 << 20  # bytes
_GATHERED = 1 << 16  # bytes
_NAME = 128  # bytes of a file's name, at most
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_FIELDS = struct.Struct("<HHHHHIIIHH")  # APPNOTE.TXT 4.3.7, after the signature
_VERSION, _MADE_BY = 20, 3 << 8 | 20  # 2.0, and 2.0 by Unix
_DATE = 1 << 5 | 1  # 1980-01-01 00:00:00 (4.4.6)
_MODE = 0o100644 << 16  # 4.4.15
_TOO_LARGE = "the archive would have more than 4 GiB: report shorter times with --from and --to"


class Writer:
    """Adds files, in the order of the format. `digests`: of those so far."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = Names()
        self.digests: list[FileDigest] = []

    def add(self, name: str, content: Iterable[bytes]) -> FileDigest:
        """Writes a file. Raises ConfigError: the archive is full."""
        self._names.take(name)
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, _MODE
        digest, size = sha256(), 0
        with self._archive.open(info, "w") as file:
            for chunk in _gathered(content):
                size += len(chunk)
                if size > max_size(name):
                    raise ConfigError(
                        f"{name} would have more than {max_size(name)} bytes. Report less at once"
                    )
                digest.update(chunk)
                file.write(chunk)
        self.digests.append(FileDigest(name, size, digest.digest()))
        return self.digests[-1]


def _gathered(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger parts: a call a line would take longer than the lines do."""
    parts, size = list[bytes](), 0
    for part in content:
        parts.append(part)
        size += len(part)
        if size >= _GATHERED:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Writes an archive; it is there as a whole once this ends, or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
                yield Writer(archive)
            if file.tell() > MAX_ARCHIVE:
                raise ConfigError(_TOO_LARGE)
            file.flush()
            os.fsync(file.fileno())
        # A crash before this line leaves the part, which the next report of this name overwrites, and what
        # was there before. After it the new archive is there, and its bytes are on the disk.
        part.replace(path)
    except (zipfile.LargeZipFile, RuntimeError) as error:
        raise ConfigError(_TOO_LARGE) from error
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}. See that there is room, and that this user may write it"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    digest: FileDigest


class Archive:
    """An archive whose form holds. `digests`: of its files, in their order. `sha256`: of the whole file."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads everything once. Raises Malformed."""
        self._file = file
        self._whole = sha256()
        self._places: dict[str, _Place] = {}
        directory, names = bytearray(), Names()
        while (signature := self._take(4, "the archive")) == _LOCAL:
            directory += self._member(names)
        if not directory:
            raise Malformed("it does not begin as a zip file does")
        names.end()
        self._check_directory(signature, bytes(directory))
        self.digests = [place.digest for place in self._places.values()]
        self.sha256 = self._whole.digest()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises ConfigError: there is no such file; Malformed: it is no production file."""
        try:
            file = path.open("rb")
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}. Give the archive's file") from error
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def names(self, folder: str) -> list[str]:
        """Of the files in this folder."""
        return [name for name in self._places if name.startswith(folder)]

    def chunks(self, name: str) -> Iterator[bytes]:
        """The file in parts of at most a megabyte. Another file may be read meanwhile."""
        place = self._places[name]
        for at in range(0, place.digest.size, _CHUNK):
            yield self.part(name, at, min(_CHUNK, place.digest.size - at))

    def part(self, name: str, at: int, size: int) -> bytes:
        """Bytes of a file."""
        self._file.seek(self._places[name].offset + at)
        return self._file.read(size)

    def read(self, name: str) -> bytes:
        """The whole file; only for those that are small (`max_size`)."""
        return b"".join(self.chunks(name))

    def _take(self, size: int, what: str) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise Malformed(f"the file ends within {what}: it was cut short, or is no zip file")
        self._whole.update(data)
        return data

    def _member(self, names: Names) -> bytes:
        """Reads a file and returns its part of the directory."""
        offset = self._file.tell() - 4
        fields = _LOCAL_FIELDS.unpack(self._take(_LOCAL_FIELDS.size, "a file's header"))
        version, flags, method, time, date, crc, packed, size, name_size, extra = fields
        if name_size > _NAME:
            raise Malformed("a file's name is too long")
        raw = self._take(name_size, "a file's name")
        name = raw.decode("ascii", "replace")
        names.take(name)
        if method:
            raise Malformed(f"{name} is compressed: the files of a production file are stored as they are")
        if (version, flags, time, date, packed, extra) != (_VERSION, 0, 0, _DATE, size, 0):
            raise Malformed(f"the header of {name} is not the one that a production file has")
        if size > max_size(name):
            raise Malformed(f"{name} has {size} bytes, and at most {max_size(name)} are read")
        begin = self._file.tell()
        digest, found = sha256(), 0
        for at in range(0, size, _CHUNK):
            data = self._take(min(_CHUNK, size - at), name)
            digest.update(data)
            found = crc32(data, found)
        if found != crc:
            raise Malformed(f"{name} is damaged: its CRC-32 is another")
        self._places[name] = _Place(begin, FileDigest(name, size, digest.digest()))
        return (
            _CENTRAL
            + struct.pack("<H", _MADE_BY)
            + _LOCAL_FIELDS.pack(*fields)
            + struct.pack("<HHHII", 0, 0, 0, _MODE, offset)
            + raw
        )

    def _check_directory(self, signature: bytes, directory: bytes) -> None:
        count, begin = len(self._places), self._file.tell() - 4
        end = _END + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), begin, 0)
        rest = signature + self._take(len(directory) + len(end) - 4, "the zip's directory")
        if rest != directory + end:
            raise Malformed("the zip's directory does not name the files that are there, as they are")
        if self._file.read(1):
            raise Malformed("something stands behind the end of the zip file")
