"""Paths and contents of tiles, against the specification's own examples and the three-entry log."""

from __future__ import annotations

import pytest

from signerd.core.tiles import (
    MAX_ENTRY,
    TileId,
    bundle,
    bundle_path,
    edge,
    is_full,
    new_tiles,
    partial_width,
    partials_between,
    tile_path,
)


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "000"),
        (67, "067"),
        (999, "999"),
        (1_000, "x001/000"),
        (1_234_067, "x001/x234/067"),
        (10**9, "x001/x000/x000/000"),
    ],
)
def test_paths(index: int, path: str) -> None:
    assert tile_path(0, index) == f"tile/0/{path}"
    assert tile_path(2, index, 17) == f"tile/2/{path}.p/17"
    assert bundle_path(index) == f"tile/entries/{path}"
    assert bundle_path(index, 255) == f"tile/entries/{path}.p/255"


def test_the_bundle_of_three_entries() -> None:
    entries = [b"signerd/v1 cert 0", b"signerd/v1 cert 1", b"signerd/v1 stamp 2"]
    assert bundle(entries) == b"".join(
        (b"\0\x11" + entries[0], b"\0\x11" + entries[1], b"\0\x12" + entries[2])
    )


def test_an_entry_of_the_greatest_length() -> None:
    assert bundle([bytes(MAX_ENTRY)])[:2] == b"\xff\xff"
    with pytest.raises(ValueError, match="65536 bytes"):
        bundle([bytes(MAX_ENTRY + 1)])


@pytest.mark.parametrize(
    ("old", "new", "tiles"),
    [
        (0, 0, []),
        (0, 1, [(0, 0, 1)]),
        (3, 7, [(0, 0, 7)]),
        (7, 7, []),
        (255, 256, [(0, 0, 256), (1, 0, 1)]),
        (256, 257, [(0, 1, 1)]),
        (250, 600, [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)]),
        (65_535, 65_536, [(0, 255, 256), (1, 0, 256), (2, 0, 1)]),
    ],
)
def test_tiles_that_a_larger_tree_has_more(old: int, new: int, tiles: list[tuple[int, int, int]]) -> None:
    assert list(new_tiles(old, new)) == [TileId(*tile) for tile in tiles]


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (0, []),
        (255, [(0, 0, 255)]),
        (256, [(1, 0, 1)]),
        (600, [(0, 2, 88), (1, 0, 2)]),
        (65_536, [(2, 0, 1)]),
        (65_537, [(0, 256, 1), (2, 0, 1)]),
    ],
)
def test_the_edge(size: int, tiles: list[tuple[int, int, int]]) -> None:
    assert list(edge(size)) == [TileId(*tile) for tile in tiles]


@pytest.mark.parametrize(
    ("name", "width"),
    [("1", 1), ("255", 255), ("256", None), ("0", None), ("01", None), ("1x", None), (".1.new", None)],
)
def test_names_of_partial_tiles(name: str, width: int | None) -> None:
    assert partial_width(name) == width


@pytest.mark.parametrize(
    ("old", "new"),
    [(0, 0), (7, 7), (0, 5), (3, 7), (250, 256), (250, 300), (0, 600), (600, 601), (65_530, 65_800)],
)
def test_partial_tiles_of_the_sizes_between(old: int, new: int) -> None:
    """By the specification's own words, a size at a time."""
    wanted = {tile for size in range(old + 1, new + 1) for tile in edge(size) if not is_full(tile, new)}
    found = list(partials_between(old, new))
    assert (set(found), len(found)) == (wanted, len(wanted))


@pytest.mark.parametrize(
    ("tile", "size", "full"),
    [((0, 0, 3), 255, False), ((0, 0, 3), 256, True), ((1, 0, 1), 65_535, False), ((1, 0, 1), 65_536, True)],
)
def test_a_partial_tile_may_go_once_the_full_one_is_there(
    tile: tuple[int, int, int], size: int, *, full: bool
) -> None:
    assert is_full(TileId(*tile), size) is full
