"""A checkpoint that the ledger here does not continue, kept beside the second place: signerd does not start
while that is so.

A running signerd keeps it before it ends. Else a start would find nothing wrong, and certify boards until the
same station calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.note import Checkpoint, NoteError, claimed_checkpoint
from signerd.core.seen_checkpoint import Standing, standing_in
from signerd.core.succession import number_of
from signerd.errors import ConfigError


class HasRoots(Protocol):
    """A tree, or a database that can be read for one."""

    @property
    def size(self) -> int:
        """Number of entries."""

    def root(self, size: int | None = None) -> bytes:
        """Of the first `size` entries."""


def contradiction_file(head_file: Path) -> Path:
    """Where it is kept, beside this second place."""
    return head_file.with_name(head_file.name + ".contradicted")


def keep_contradiction(head_file: Path, note: bytes) -> None:
    """Keeps it. A crash before leaves nothing: the station shows it again at its next call.

    Raises OSError.
    """
    durable_files.replace(contradiction_file(head_file), note, 0o600)


def compare_with_contradiction(head_file: Path, keys: LogKeys, tree: HasRoots) -> None:
    """Forgets what is kept if this tree continues it: the right database was put back, or a successor of the
    log says what is lost.

    A crash before it is forgotten: it is compared again at the next start.

    Raises:
        ConfigError: this tree does not continue it, or it cannot be read.
    """
    path = contradiction_file(head_file)
    if demand_continued(head_file, keys, tree) is not None:
        try:
            path.unlink()
        except OSError as error:
            raise from_system(f"cannot remove {path}: {error.strerror}", error) from error


def demand_continued(head_file: Path, keys: LogKeys, tree: HasRoots) -> Checkpoint | None:
    """What is kept, if this tree continues it; None where nothing is. Changes nothing.

    Raises:
        ConfigError: this tree does not continue it, or it cannot be read.
    """
    path = contradiction_file(head_file)
    try:
        seen = claimed_checkpoint(path.read_bytes(), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_system(f"cannot read {path}: {error.strerror}", error) from error
    except NoteError as error:
        raise ConfigError(f"{path} holds no checkpoint of the log {keys.origin}: {error}") from error
    if number_of(seen.origin, keys.origin) is None:
        raise ConfigError(f"{path} holds a checkpoint of {seen.origin}, not of the log {keys.origin}")
    how = standing_in(seen, keys, tree.size, tree.root)
    if how is not Standing.HELD:
        raise ConfigError(_said(path, seen, tree, how))
    return seen


def _said(path: Path, seen: Checkpoint, tree: HasRoots, how: Standing) -> str:
    here = f"has {tree.size}" if how is Standing.AHEAD else "had another root at that size"
    return (
        f"a station saw a checkpoint over {seen.size} ledger entries ({path}), and the database {here}: a"
        ' restored backup, or a copy? See docs/operations.md, "A backup was restored"'
    )
