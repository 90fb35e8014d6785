"""A folder that is exported into: each file is written as a whole, and only if it is not there already."""

from __future__ import annotations

from pathlib import Path

from auditor.adapters.tile_folder import read_bounded
from auditor.errors import ConfigError, Unreachable

_PART = ".part"  # of a file that is being written


class ExportFolder:
    """Raises ConfigError where a file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: set[Path] = set()

    def read(self, name: str, most: int) -> bytes | None:
        """A file; of a larger one a byte more than `most`. None: there is none."""
        try:
            return read_bounded(self.path / name, most)
        except Unreachable as error:
            raise ConfigError(f"{error}. Give a directory that this user may read and write") from error

    def put(self, name: str, data: bytes) -> None:
        """Writes a file unless it is there already, byte for byte."""
        file = self.path / name
        if self.read(name, len(data)) == data:
            return
        part = file.with_name(file.name + _PART)
        try:
            if file.parent not in self._made:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(file.parent)
            part.write_bytes(data)
            # A crash before this line leaves the file of before, if any, and a part that the next run writes
            # anew; after it, the file as a whole. A power cut may still leave it empty: nothing waits for the
            # disk here, as each run compares each file with the ledger before it leaves it as it is.
            part.replace(file)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write into {path}: {error.strerror}. See that this user may write there")
