"""A board's nonvolatile storage: what survives a reset and a power cut. Each write is whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol


class StorageFull(Exception):  # noqa: N818 (what the board answers)
    """It does not fit."""


class Store(Protocol):
    """What a board keeps its things in."""

    def get(self, name: str) -> bytes | None:
        """What is kept under that name."""
        ...

    def put(self, name: str, value: bytes) -> None:
        """Keeps it, whole or not at all. Raises `StorageFull`."""
        ...

    def erase(self) -> None:
        """Forgets all."""
        ...


class Storage:
    """Named byte strings. With a path they outlive the process, without one only the board's resets."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._items: dict[str, bytes] = {}
        if path is not None and path.exists():
            self._items = {name: bytes.fromhex(value) for name, value in json.loads(path.read_text()).items()}

    def get(self, name: str) -> bytes | None:
        return self._items.get(name)

    def put(self, name: str, value: bytes) -> None:
        self._items[name] = value
        self._write()

    def erase(self) -> None:
        self._items.clear()
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps({name: value.hex() for name, value in self._items.items()}))
        temporary.replace(self._path)
