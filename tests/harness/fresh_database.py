"""An empty database at the newest schema: the migrations run once a process, and make a file to be copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.store import create_database, sqlite_file


def fresh_database(url: str) -> None:
    """What `create_database` makes there; `url` is a SQLite file's."""
    path = sqlite_file(url)
    assert path is not None
    durable_files.write_new(path, _migrated(), 0o600)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "signerd.sqlite"
        create_database(f"sqlite:///{file}")
        assert [path.name for path in file.parent.iterdir()] == [
            file.name
        ]  # nothing of it in a log beside it
        return file.read_bytes()
