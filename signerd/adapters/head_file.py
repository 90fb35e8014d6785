"""The second place of the last signed checkpoint: a file that backups of the database do not touch.

Guarantees that the file never goes back: `swap` refuses a smaller tree, another root at the same size,
and a file that someone else changed. A restored backup of the database is noticed against it at
start-up. One process holds the file at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import EMPTY_ROOT
from signerd.core.note import Checkpoint, NoteError, VerifierKey, parse_vkey
from signerd.errors import ConfigError, Fault, NotNow, Unavailable

_REMEDY = "if this is a restored backup, see docs/operations.md"


def create(path: Path, origin: str) -> None:
    """Makes the file, for a tree of size 0: the mark that a log was opened here. Unsigned.

    Raises:
        ConfigError: it exists already, or it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable_files.write_new(path, Checkpoint(origin, 0, EMPTY_ROOT).body(), 0o600)
    except OSError as error:
        raise ConfigError(f"cannot make the second place {path}: {error.strerror}") from error


def succession_beside(head_file: Path) -> Path:
    """Where the newest succession of the log is kept (`core/succession.py`): no backup has it."""
    return head_file.with_name(head_file.name + ".succession")


def load_vkey(path: Path) -> VerifierKey:
    """The log's verifier key. Raises ConfigError if the file holds none, and OSError."""
    try:
        return parse_vkey(path.read_text("ascii").strip())
    except (NoteError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a verifier key: {error}") from error


def read_second_place(path: Path, read_keys: Callable[[], LogKeys]) -> Checkpoint:
    """What it holds now, whoever holds the file. `read_keys` is called once the file is read: keys that came
    meanwhile change nothing of who signed it. Raises ConfigError as `HeadFile`."""
    note = _content(path)
    return _opened(path, note, read_keys())


def second_place_note(path: Path) -> bytes:
    """Its bytes, whoever holds the file and whatever they are. Raises ConfigError, NotNow."""
    return _content(path)


class HeadFile:
    """The file, held by this process from construction to `close`."""

    def __init__(self, path: Path, keys: LogKeys) -> None:
        """Takes hold of the file and reads it.

        Raises:
            NotNow: another signerd holds it, or its place cannot be written now.
            ConfigError: it is missing, or no checkpoint that all of `keys` have signed who sign its tree.
        """
        self._path = path
        self._lock: int | None = _lock(path.with_name(path.name + ".lock"))
        try:
            self.note, self.checkpoint = _read(path, keys)
        except ConfigError:
            self.close()
            raise

    def swap(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Puts a newer checkpoint in the place of the last one.

        A crash before the rename leaves the old checkpoint and a temporary file beside it, which
        nobody reads; the entries are committed and are signed again at start-up. A crash after it leaves
        the new checkpoint, which nobody was given yet: start-up publishes it.

        Raises:
            Fault: the checkpoint is not newer, or the file is not what this process left there.
            Unavailable: it cannot be written.
        """
        last = self.checkpoint
        if checkpoint.size < last.size or (checkpoint.size == last.size and checkpoint.root != last.root):
            raise Fault(f"the ledger would go from size {last.size} to {checkpoint.size}: a fork")
        try:
            if self._path.read_bytes() != self.note:
                raise Fault(f"{self._path} was changed by someone else")
            durable_files.replace(self._path, note, 0o600)
        except durable_files.NotSyncedError as error:
            # The file is ours all the same; the next swap writes it again.
            self.checkpoint, self.note = checkpoint, note
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        self.checkpoint, self.note = checkpoint, note

    def close(self) -> None:
        """Lets go of the file. Once more does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class PlaceOfBefore:
    """The second place, held while a successor takes it (`core/succession.py`). What it holds is not
    compared: it may be of the part of the log that is lost."""

    def __init__(self, path: Path) -> None:
        """Raises NotNow, ConfigError: as `HeadFile`."""
        self._path = path
        self._lock: int | None = _lock(path.with_name(path.name + ".lock"))
        try:
            self.note = _content(path)
        except ConfigError:
            self.close()
            raise

    def is_mark(self, origin: str) -> bool:
        """Whether it is the unsigned mark of a log that was just opened."""
        return self.note == Checkpoint(origin, 0, EMPTY_ROOT).body()

    def put(self, note: bytes, number: int) -> Path:
        """The successor's first checkpoint in its place; where the one of before is kept.

        A crash before the second write leaves the one of before in both files: signerd does not start, and
        the command goes on when it is given again. After it, the log is the successor. Raises OSError.
        """
        kept = self._path.with_name(f"{self._path.name}.before-successor-{number}")
        durable_files.replace(kept, self.note, 0o600)
        durable_files.replace(self._path, note, 0o600)
        self.note = note
        return kept

    def close(self) -> None:
        """Lets go of the file. Once more does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _read(path: Path, keys: LogKeys) -> tuple[bytes, Checkpoint]:
    note = _content(path)
    return note, _opened(path, note, keys)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise from_system(
            f"cannot read the second place {path}: {error.strerror}; {_REMEDY}", error
        ) from error


def _opened(path: Path, note: bytes, keys: LogKeys) -> Checkpoint:
    empty = Checkpoint(keys.origin, 0, EMPTY_ROOT)
    if note == empty.body():
        return empty
    try:
        return keys.open(note)
    except NoteError as error:
        raise ConfigError(
            f"the second place {path} holds no checkpoint of this log: {error}; {_REMEDY}"
        ) from error


def _lock(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_system(
            f"cannot open {path}: {error.strerror}; `signerd init` makes its directory", error
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise NotNow(f"another signerd holds {path}") from error
    return descriptor
