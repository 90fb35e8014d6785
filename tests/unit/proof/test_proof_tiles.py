"""Tiles: paths, the published log's files, and proofs that equal those of a tree written from the RFC."""

from __future__ import annotations

import contextlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birthmark.proof.errors import ProofError, Reason
from birthmark.proof.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from birthmark.proof.tile import (
    MAX_BUNDLE_BYTES,
    Bundle,
    Tile,
    TileTree,
    bundle_of,
    bundles_of,
    parse_bundle,
    parse_path,
    parse_tile,
    tile_of,
    tiles_of,
)
from harness.paper_tiles import files_of
from harness.paper_tree import PaperTree

ENTRIES = [b"signerd/v1 cert 0", b"signerd/v1 cert 1", b"signerd/v1 stamp 2"]
NOTHING: dict[str, bytes] = {}
BIG = 70_000  # the size of the specification's example


@cache
def _tree() -> PaperTree:
    tree = PaperTree()
    for index in range(BIG):
        tree.append(b"%d" % index)
    return tree


def _files(size: int) -> dict[str, bytes]:
    return files_of([b"%d" % index for index in range(size)], tree=_tree())


@cache
def _of(size: int) -> TileTree:
    return TileTree(size, _files(size).get)


SIZES = [*range(1, 16), *range(255, 259), 511, 512, 513, 65_535, 65_536, 65_537, BIG]


# Paths


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(3, 999, 17), "tile/3/999.p/17"),
        (Tile(0, 1_000, 255), "tile/0/x001/000.p/255"),
        (Tile(7, 0, 1), "tile/7/000.p/1"),
        (Bundle(1_234_067), "tile/entries/x001/x234/067"),
        (Bundle(0, 3), "tile/entries/000.p/3"),
        (Tile(0, 2**55 - 1), "tile/0/x036/x028/x797/x018/x963/967"),
    ],
)
def test_a_tile_has_one_path(place: Tile | Bundle, path: str) -> None:
    assert place.path == path
    assert parse_path(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x001/x000",
        "tile/0/001/002",
        "tile/8/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/000\n",
        "tile/entry/000",
        "tile/0/x999/x999/x999/x999/x999/999",
        "tile/0/\uff10\uff10\uff10",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(ProofError):
        parse_path(path)


@given(st.text(alphabet="tile/entrsx0123456789.p", max_size=40) | st.text(max_size=40))
def test_any_text_is_the_path_that_it_gives_or_none(path: str) -> None:
    with contextlib.suppress(ProofError):
        assert parse_path(path).path == path


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-1, 0, 1), (8, 0, 1), (0, -1, 1), (0, 2**55, 1), (0, 0, 0), (0, 0, 257)]
)
def test_there_is_no_such_tile(level: int, index: int, width: int) -> None:
    with pytest.raises(ProofError):
        Tile(level, index, width)
    if level == 0:
        with pytest.raises(ProofError):
            Bundle(index, width)


def test_the_tiles_of_the_specifications_example() -> None:
    """ "A tree of size 70,000 will be represented by …"."""
    tiles = list(tiles_of(BIG))
    full = [tile for tile in tiles if tile.width == 256]
    assert [sum(tile.level == level for tile in full) for level in range(3)] == [273, 1, 0]
    assert [tile for tile in tiles if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(bundles_of(256)) == [Bundle(0)]
    assert not [*tiles_of(0), *bundles_of(0)]


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_what_is_new_is_what_the_older_tree_has_not(one: int, two: int) -> None:
    old, new = sorted((one, two))
    for listed in (tiles_of, bundles_of):
        assert set(listed(new, old)) == set(listed(new)) - set(listed(old))


def test_a_tile_beyond_the_tree_is_refused() -> None:
    assert tile_of(0, 1, 257) == Tile(0, 1, 1)
    assert bundle_of(1, 257) == Bundle(1, 1)
    for wrong in (lambda: tile_of(0, 1, 256), lambda: tile_of(1, 0, 255), lambda: bundle_of(1, 256)):
        with pytest.raises(ProofError):
            wrong()


# Files


def test_the_published_files_to_the_byte() -> None:
    """Of tests/vectors/tlog/three-entries.md."""
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    files = {
        "tile/0/000.p/3": b"".join(leaves),
        "tile/entries/000.p/3": b"\x00\x11"
        + ENTRIES[0]
        + b"\x00\x11"
        + ENTRIES[1]
        + b"\x00\x12"
        + ENTRIES[2],
    }
    tree = TileTree(3, files.get)
    assert tree.root().hex() == "bb7becc6388b31e62fcf91c972d3b47a3f14486955b91f26695f19288ea908b9"
    assert tree.inclusion_proof(1) == [leaves[0], leaves[2]]
    assert tree.consistency_proof(2) == [leaves[2]]
    assert list(tree.entries()) == ENTRIES


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_proofs_are_those_of_the_definition(size: int) -> None:
    tree, paper = _of(size), _tree()
    assert tree.root() == paper.root(size)
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        assert tree.leaf(index) == leaf_hash(b"%d" % index)
        assert tree.entry(index) == b"%d" % index
        assert tree.inclusion_proof(index) == paper.inclusion(index, size)
    for old in {1, 2, size // 3, size // 2, size - 1, size, 256, 65_536} & set(range(1, size + 1)):
        assert tree.consistency_proof(old) == paper.consistency(old, size)


@settings(deadline=None)
@given(st.sampled_from(SIZES), st.data())
def test_every_proof_from_tiles_is_verified(size: int, data: st.DataObject) -> None:
    tree, root = _of(size), _tree().root(size)
    index = data.draw(st.integers(0, size - 1))
    leaf = leaf_hash(b"%d" % index)
    verify_inclusion(index=index, size=size, root=root, leaf=leaf, proof=tree.inclusion_proof(index))
    old = data.draw(st.integers(1, size))
    verify_consistency(
        old_size=old,
        old_root=_tree().root(old),
        new_size=size,
        new_root=root,
        proof=tree.consistency_proof(old),
    )


def test_the_empty_tree_reads_nothing() -> None:
    tree = TileTree(0, NOTHING.get)
    assert tree.root() == EMPTY_ROOT
    assert list(tree.entries()) == []


def test_entries_of_a_range() -> None:
    tree = _of(513)
    assert list(tree.entries(250, 260)) == [b"%d" % index for index in range(250, 260)]
    assert list(tree.entries(512)) == [b"512"]
    assert list(tree.entries(7, 7)) == []


def test_where_a_partial_tile_is_gone_the_full_one_is_read() -> None:
    """A log may take a partial tile away once the full one is there."""
    grown = {path: data for path, data in _files(512).items() if not path.startswith("tile/1")}
    kept = {path: data for path, data in _files(300).items() if path.startswith("tile/1")}
    tree = TileTree(300, (grown | kept).get)
    assert tree.root() == _tree().root(300)
    assert tree.entry(299) == b"299"
    assert list(tree.entries(298)) == [b"298", b"299"]


def test_questions_beyond_the_tree_are_refused() -> None:
    tree = _of(3)
    for wrong in (
        lambda: tree.leaf(3),
        lambda: tree.leaf(-1),
        lambda: tree.entry(3),
        lambda: tree.inclusion_proof(3),
        lambda: tree.consistency_proof(0),
        lambda: tree.consistency_proof(4),
        lambda: list(tree.entries(0, 4)),
        lambda: list(tree.entries(2, 1)),
        lambda: TileTree(-1, NOTHING.get),
        lambda: TileTree(2**63, NOTHING.get),
    ):
        with pytest.raises(ProofError) as raised:
            wrong()
        assert raised.value.reason is Reason.MALFORMED


def test_memory_does_not_grow_with_the_tree() -> None:
    tree = TileTree(BIG, _files(BIG).get)
    for index in range(0, BIG, 256):
        tree.leaf(index)
    assert len(tree._kept) <= 64


# Doctored files


def _broken(size: int, path: str, data: bytes | None) -> TileTree:
    files: dict[str, bytes | None] = dict(_files(size))
    assert path in files
    files[path] = data
    return TileTree(size, files.get)


def test_a_file_that_is_missing_is_named() -> None:
    tree = _broken(300, "tile/0/001.p/44", None)
    with pytest.raises(ProofError, match=r"tile/0/001\.p/44 is missing") as raised:
        tree.root()
    assert raised.value.reason is Reason.MISSING


@pytest.mark.parametrize("length", [0, 1, 31, 33, 43 * 32, 45 * 32, 8_191, 8_193, 100_000])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    for data in (bytes(44 * 32), bytes(8_192)):
        assert parse_tile(data, 44)
    with pytest.raises(ProofError) as raised:
        _broken(300, "tile/0/001.p/44", bytes(length)).root()
    assert raised.value.reason is Reason.MALFORMED


def test_a_full_tile_has_no_other_width() -> None:
    with pytest.raises(ProofError):
        _broken(512, "tile/0/001", bytes(44 * 32)).leaf(256)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_hash_changed_in_a_tile_leads_to_another_root(path: str) -> None:
    data = bytearray(_files(300)[path])
    data[7] ^= 1
    assert _of(300).root() == _tree().root(300)
    doctored = _broken(300, path, bytes(data))
    if path != "tile/0/000":  # whose root stands in the level above, where it was not changed
        assert doctored.root() != _tree().root(300)
    with pytest.raises(ProofError, match="does not lead"):
        verify_inclusion(
            index=299 if path != "tile/0/000" else 1,
            size=300,
            root=_tree().root(300),
            leaf=leaf_hash(b"299" if path != "tile/0/000" else b"1"),
            proof=doctored.inclusion_proof(299 if path != "tile/0/000" else 1),
        )


GOOD_BUNDLE = b"\x00\x02ab\x00\x00\x00\x01c"


def test_a_bundle_is_read() -> None:
    assert parse_bundle(GOOD_BUNDLE, 3) == [b"ab", b"", b"c"]
    largest = (b"\xff\xff" + bytes(65_535)) * 256
    assert len(largest) == MAX_BUNDLE_BYTES
    assert len(parse_bundle(largest, 256)) == 256


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD_BUNDLE[:-1],
        GOOD_BUNDLE[:-2],
        GOOD_BUNDLE[:-3],
        GOOD_BUNDLE + b"\x00",
        GOOD_BUNDLE + b"\x00\x00",
        GOOD_BUNDLE + b"\x00\x05a",
        b"\x00\x00" * 257,
        b"\xff\xff" + bytes(65_534),
    ],
    ids=lambda data: repr(data[:16]),
)
def test_a_bundle_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        parse_bundle(data, 3)


@given(st.binary(max_size=200), st.integers(1, 256))
def test_any_bytes_are_entries_or_refused(data: bytes, width: int) -> None:
    try:
        entries = parse_bundle(data, width)
    except ProofError:
        return
    assert (
        b"".join(len(entry).to_bytes(2) + entry for entry in entries)
        == data[: sum(map(len, entries)) + 2 * width]
    )


@given(st.dictionaries(st.sampled_from(sorted(_files(300))), st.binary(max_size=9_000)))
def test_whatever_the_files_hold_only_the_one_error_is_raised(files: dict[str, bytes]) -> None:
    tree = TileTree(300, (_files(300) | files).get)
    for ask in (tree.root, lambda: tree.inclusion_proof(299), lambda: list(tree.entries())):
        with contextlib.suppress(ProofError):
            ask()
