"""What a place of publication does: the folder, and the bucket beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class TilesPlace(Protocol):
    """Paths are those of C2SP tlog-tiles. All calls raise OSError or Fault: it was not done."""

    def note(self) -> bytes | None:
        """The checkpoint that readers see; None before the first."""

    def put(self, path: str, data: bytes, *, anew: bool = False) -> bool:
        """Writes one tile; whether it was not there as it should be. One that differs is a Fault, or with
        `anew` written over."""

    def put_checkpoint(self, note: bytes) -> None:
        """What readers see from now on."""

    def partials(self, path: str) -> Iterator[int]:
        """The widths of the partial tiles that become the full one at `path`."""

    def drop_partial(self, path: str, width: int) -> None:
        """Takes away one of them."""

    def drop_partials(self, path: str) -> None:
        """Takes away all of them."""
