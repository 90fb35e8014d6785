"""The folder of the log's tiles, which any static web server can serve.

Guarantees that a file is there whole or not at all, and that none is written over with other bytes unless a
command asks for it. One process writes at a time: whoever holds the second place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from signerd.adapters import durable_files
from signerd.core.merkle import HASH_SIZE
from signerd.core.tiles import (
    CHECKPOINT,
    WIDTH,
    TileId,
    bundle_path,
    edge,
    new_tiles,
    partial_width,
    partials_folder,
)
from signerd.errors import Fault, Unavailable

FOLDER_MODE = 0o750  # for auditors: a web server of the group may read
FILE_MODE = 0o640
_MAX_NOTE = 64 * 1024  # bytes of a checkpoint, with the signatures of many witnesses
_REMEDY = "stop signerd and run `signerd ledger publish`, which writes the tiles anew from the log"


class TilesFolder:
    """The folder; `make` makes it where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """The folder itself; what it lies in has to be there. Raises OSError."""
        if not self.path.is_dir():
            _make(self.path)

    def read(self, tile: TileId) -> bytes:
        """A full hash tile. Raises Fault: it is missing; Unavailable: it cannot be read."""
        path = self.path / tile.path
        try:
            return _content(path, WIDTH * HASH_SIZE)
        except FileNotFoundError as error:
            raise Fault(f"the tile {path} is missing: {_REMEDY}") from error
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}") from error

    def differs(self, tile: TileId) -> Fault:
        """See `core.merkle.StoredTiles`."""
        return self._differs(self.path / tile.path)

    def note(self) -> bytes | None:
        """The checkpoint that readers see; None before the first. Raises OSError."""
        try:
            return _content(self.path / CHECKPOINT, _MAX_NOTE)
        except FileNotFoundError:
            return None

    def edges(self, size: int) -> dict[TileId, bytes]:
        """The partial hash tiles of a tree of this size. Raises OSError."""
        return {tile: _content(self.path / tile.path, WIDTH * HASH_SIZE) for tile in edge(size)}

    def missing(self, size: int) -> Path | None:
        """The first full tile or bundle of a tree of this size that is not there, or of another length."""
        for index in range(size // WIDTH):
            if not (path := self.path / bundle_path(index)).is_file():
                return path
        for tile in new_tiles(0, size):
            path = self.path / tile.path
            if tile.width == WIDTH and not (path.is_file() and path.stat().st_size == WIDTH * HASH_SIZE):
                return path
        return None

    def put(self, path: str, data: bytes, *, anew: bool = False) -> bool:
        """Writes one tile; whether it was not there as it should be. `anew`: over one that differs.

        Raises:
            Fault: one is there that differs.
            OSError: it cannot be written.
        """
        target = self.path / path
        try:
            if _content(target, len(data)) == data:
                # What renamed it may have ended before its name was on the disk.
                durable_files.sync_directory(target.parent)
                return False
            if not anew:
                raise self._differs(target)
        except FileNotFoundError:
            _make_all(self.path, target.parent)
        durable_files.replace(target, data, FILE_MODE)
        return True

    def put_checkpoint(self, note: bytes) -> None:
        """What readers see from now on. Raises OSError."""
        durable_files.replace(self.path / CHECKPOINT, note, FILE_MODE)

    def partials(self, path: str) -> Iterator[int]:
        """The widths of the partial tiles that become the full one at `path`. Raises OSError."""
        with suppress(FileNotFoundError):
            for file in sorted((self.path / partials_folder(path)).iterdir()):
                if width := partial_width(file.name):
                    yield width

    def drop_partial(self, path: str, width: int) -> None:
        """Takes away one of them. Raises OSError."""
        (self.path / partials_folder(path) / str(width)).unlink()

    def drop_partials(self, path: str) -> None:
        """Takes away the partial tiles of a full one. A crash leaves some, which nobody needs. Raises
        OSError."""
        folder = self.path / partials_folder(path)
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()

    def _differs(self, path: Path) -> Fault:
        return Fault(f"{path} is not what the log has: keep a copy for whoever looks into it, {_REMEDY}")


def _content(path: Path, limit: int) -> bytes:
    """At most one byte more than the limit."""
    with path.open("rb") as file:
        return file.read(limit + 1)


def _make_all(base: Path, folder: Path) -> None:
    missing = []
    while folder != base and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        _make(each)


def _make(folder: Path) -> None:
    """Durable, and of its mode whatever the umask."""
    folder.mkdir(exist_ok=True)
    folder.chmod(FOLDER_MODE)
    durable_files.sync_directory(folder.parent)
