"""Files that are on the disk, name and all, when a call returns: the one way in which signerd writes them.

    write_new(path, data, mode)          there was none before
    new_file(path, mode)                 the same, as a stream to write to
    write_many_new(folder, files, mode)  the same for many, with one sync of the folder
    fill(path, data)                     a file that `write_new` made empty, to take its name early
    replace(path, data, mode)            after a crash: the old file or the new one, never a part of either

Nothing follows a symbolic link in the last part of `path`, and nothing writes over what it did not make.
The mode is set before the first byte of content, whatever the umask. What a call could not finish it takes
away again. All raise OSError with the file's name, which the system leaves out where a disk is full.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotSyncedError(OSError):
    """The new file is in its place, but its name may be lost with the power: the old file may come back."""


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A file that did not exist before.

    A crash leaves no file, or one that is empty or a part; whoever waits for it must not read before this
    returns. It is the caller's to remove after a crash: the next call refuses it.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be written; nothing is left.
    """
    _create(path, data, mode)
    with _removed_on_error(path):
        sync_directory(path.parent)


@contextmanager
def new_file(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """As `write_new`, for content that is written bit by bit; on the disk when the context ends."""
    with _named(path):
        descriptor = os.open(path, _NEW, mode & 0o600)
    with _removed_on_error(path):
        with os.fdopen(descriptor, "wb") as file:
            try:
                yield file
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            except OSError as error:
                if error.filename is not None:  # of another file
                    raise
                raise OSError(error.errno, error.strerror, str(path)) from error
        sync_directory(path.parent)


def write_many_new(folder: Path, files: Mapping[str, bytes], mode: int) -> None:
    """New files in one folder. A crash leaves some of them; an error those before the one that it names."""
    for name, data in files.items():
        _create(folder / name, data, mode)
    sync_directory(folder)


def fill(path: Path, data: bytes) -> None:
    """The content of a file that the caller made empty. A crash leaves it empty, or a part of the content."""
    with _named(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        _write(descriptor, data, None)
        sync_directory(path.parent)


def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """The file, or a newer one in its place; of this user and group, where they are given.

    A crash before the rename leaves the old file, and beside it `.NAME.<random>.new`, which may be removed. A
    crash between the rename and the sync of the directory leaves the old file or the new one.

    Raises:
        NotSyncedError: the new file is there, and a power cut may still bring the old one back.
        OSError: it cannot be written; the old file is as it was.
    """
    # Random, since two may write at once: neither then renames the half of the other's.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        _create(new, data, mode)
    except OSError as error:  # whoever reads it knows the file that they named, and not ours
        raise OSError(error.errno, error.strerror, str(path)) from error
    with _removed_on_error(new), _named(path):
        if owner is not None:
            os.chown(new, *owner)
        new.replace(path)
    try:
        sync_directory(path.parent)
    except OSError as error:
        raise NotSyncedError(error.errno, error.strerror, str(path)) from error


def sync_directory(path: Path) -> None:
    """Makes the names in it durable."""
    with _named(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create(path: Path, data: bytes, mode: int) -> None:
    with _named(path):
        # Narrow until fchmod: the umask may take bits away, and never adds any.
        descriptor = os.open(path, _NEW, mode & 0o600)
    with _removed_on_error(path), _named(path):
        _write(descriptor, data, mode)


def _write(descriptor: int, data: bytes, mode: int | None) -> None:
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # also an interrupted command leaves nothing, least of all keys
        with suppress(OSError):  # the error that is under way says more
            path.unlink()
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
