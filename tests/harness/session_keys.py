"""One key for sessions of any day, for tests whose clocks stand where they like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class EveryDay(Mapping[int, bytes]):
    """The same key, whatever the day."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __getitem__(self, day: int) -> bytes:
        return self._key

    def __iter__(self) -> Iterator[int]:
        return iter((0,))

    def __len__(self) -> int:
        return 1
