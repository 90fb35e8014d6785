"""Tiles of a log: where they lie and what is in them (C2SP tlog-tiles).

A hash tile has up to 256 hashes of one level; level 1 has a hash for each full tile of level 0, and so on. An
entry bundle has up to 256 entries. A tile that is not full is partial, and has its width in its path.

    tile_path(0, 1_234_067)     "tile/0/x001/x234/067"
    bundle_path(3, 17)          "tile/entries/003.p/17"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH = 256  # hashes of a full tile, entries of a full bundle
HEIGHT = 8  # levels of the tree in a tile: WIDTH is 2**HEIGHT
MAX_ENTRY = 65_535  # bytes: an entry's length has two bytes in a bundle
_LENGTH = 2  # bytes before each entry of a bundle
CHECKPOINT = "checkpoint"  # the path of the signed checkpoint
SUCCESSION = "succession"  # beside it, where the log has a successor
_PARTIAL = re.compile(r"[1-9][0-9]{0,2}")


@dataclass(frozen=True, slots=True)
class TileId:
    """One hash tile of a tree of some size."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Relative to the log's folder."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Of a hash tile."""
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Of an entry bundle."""
    return f"tile/entries/{_numbered(index, width)}"


def partials_folder(path: str) -> str:
    """Where the partial tiles are that become this full one."""
    return f"{path}.p"


def partial_width(name: str) -> int | None:
    """The width that a file in such a folder is named after; None for a name that is none."""
    width = int(name) if _PARTIAL.fullmatch(name) else 0
    return width if 0 < width < WIDTH else None


def widths(count: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Index and width of what `count` hashes or entries fill, from the first that holds number `start`."""
    for index in range(start // WIDTH, -(-count // WIDTH)):
        yield index, min(WIDTH, count - index * WIDTH)


def new_tiles(old: int, new: int) -> Iterator[TileId]:
    """The hash tiles that a tree of `new` leaves has and that of the first `old` has not, lower levels
    first."""
    level = 0
    while (count := new >> (HEIGHT * level)) > (before := old >> (HEIGHT * level)):
        for index, width in widths(count, before):
            yield TileId(level, index, width)
        level += 1


def edge(size: int) -> Iterator[TileId]:
    """The partial tiles at the right edge of a tree: with the full ones they are all of it."""
    level = 0
    while count := size >> (HEIGHT * level):
        if width := count % WIDTH:
            yield TileId(level, count // WIDTH, width)
        level += 1


def partials_between(old: int, new: int) -> Iterator[TileId]:
    """The partial hash tiles of the trees that are larger than `old`, up to `new`: without those whose full
    tile the last of these trees has."""
    level = 0
    while count := new >> (HEIGHT * level):
        index, width = divmod(count, WIDTH)
        first = max(((old + 1) >> (HEIGHT * level)) - index * WIDTH, 1)
        for each in range(first, width + 1):
            yield TileId(level, index, each)
        level += 1


def is_full(tile: TileId, size: int) -> bool:
    """Whether a tree of this size has the full tile of which this one is a part."""
    return (tile.index + 1) * WIDTH <= size >> (HEIGHT * tile.level)


def bundle(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length, two bytes, big-endian.

    Raises:
        ValueError: an entry is longer than `MAX_ENTRY`.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise ValueError(f"an entry of {len(entry)} bytes does not fit a bundle")
        parts += (len(entry).to_bytes(_LENGTH, "big"), entry)
    return b"".join(parts)


def _numbered(index: int, width: int) -> str:
    """Groups of three digits, all but the last with an x before them."""
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text if width == WIDTH else f"{text}.p/{width}"


def parse_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ValueError: it ends inside an entry, or has more than `WIDTH`."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
        if at + _LENGTH > len(data) or end > len(data):
            raise ValueError("it ends inside an entry")
        found.append(data[at + _LENGTH : end])
        at = end
    if len(found) > WIDTH:
        raise ValueError(f"it has {len(found)} entries")
    return found
