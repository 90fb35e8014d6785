"""The tree against RFC 6962's own recursive definition, and against published vectors."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.core.merkle import EMPTY_ROOT, Frontier, Tree, leaf_hash, node_hash
from signerd.core.tiles import WIDTH, TileId, edge, new_tiles
from signerd.core.tree_tiles import KeptTiles

VECTORS = Path(__file__).parents[3] / "vectors" / "merkle"


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % index) for index in range(count)]


def tree_of(hashes: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in hashes:
        tree.append(leaf)
    return tree


def split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    half = split(len(hashes))
    return node_hash(mth(hashes[:half]), mth(hashes[half:]))


def path(index: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    half = split(len(hashes))
    if index < half:
        return [*path(index, hashes[:half]), mth(hashes[half:])]
    return [*path(index - half, hashes[half:]), mth(hashes[:half])]


def subproof(old: int, hashes: list[bytes], *, known: bool) -> list[bytes]:
    """RFC 6962 §2.1.2, word for word."""
    if old == len(hashes):
        return [] if known else [mth(hashes)]
    half = split(len(hashes))
    if old <= half:
        return [*subproof(old, hashes[:half], known=known), mth(hashes[half:])]
    return [*subproof(old - half, hashes[half:], known=False), mth(hashes[:half])]


def test_empty_tree() -> None:
    assert Tree().root() == EMPTY_ROOT == mth([])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_are_those_of_the_definition(data: st.DataObject) -> None:
    hashes = leaves(data.draw(st.integers(1, 130)))
    tree = tree_of(hashes)
    size = data.draw(st.integers(1, len(hashes)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    assert tree.root(size) == mth(hashes[:size])
    assert tree.inclusion(index, size) == path(index, hashes[:size])
    assert tree.consistency(old, size) == subproof(old, hashes[:size], known=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 20))
def test_a_truncated_tree_is_the_tree_that_it_was(kept: int, dropped: int, added: int) -> None:
    hashes = leaves(kept + dropped)
    tree = tree_of(hashes)
    tree.truncate(kept)
    assert (tree.size, tree.root()) == (kept, mth(hashes[:kept]))
    others = [leaf_hash(b"other %d" % index) for index in range(added)]
    for leaf in others:
        tree.append(leaf)
    assert tree.root() == mth(hashes[:kept] + others)


class Folder:
    """Tiles that a tree released, as the adapter has them."""

    def __init__(self) -> None:
        self.tiles: dict[TileId, bytes] = {}
        self.reads = 0

    def read(self, tile: TileId) -> bytes:
        self.reads += 1
        return self.tiles[tile]

    def differs(self, tile: TileId) -> Exception:
        return DiffersError(tile)


class DiffersError(Exception):
    pass


def released(hashes: list[bytes], size: int) -> tuple[Tree, Folder]:
    """A tree whose full tiles, as of a smaller size, are in the folder alone."""
    folder = Folder()
    tree = Tree(folder, kept=2)
    for leaf in hashes[:size]:
        tree.append(leaf)
    folder.tiles = {tile: tree.tile(tile) for tile in new_tiles(0, size) if tile.width == WIDTH}
    tree.release(size)
    for leaf in hashes[size:]:
        tree.append(leaf)
    return tree, folder


LEAVES = leaves(66_000)
SIZES = (1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_of_tiles_gives_the_same_proofs(size: int) -> None:
    whole = tree_of(LEAVES)
    tree, folder = released(LEAVES, size)
    for at in SIZES:
        assert tree.root(at) == whole.root(at)
        assert tree.inclusion(at // 2, at) == whole.inclusion(at // 2, at)
        assert tree.consistency(at // 2 + 1, 66_000) == whole.consistency(at // 2 + 1, 66_000)
    again = Tree.at(size, {tile: whole.tile(tile) for tile in edge(size)}, folder)
    for leaf in LEAVES[size:]:
        again.append(leaf)
    assert again.root() == whole.root()
    assert again.inclusion(0, size) == whole.inclusion(0, size)
    assert again.leaf(size - 1) == LEAVES[size - 1]


def test_memory_does_not_grow_with_the_tree() -> None:
    tree, folder = released(LEAVES, 65_536 + 256)
    assert len(tree._held) == 3  # the edge of each level
    assert len(tree._read._tiles) == 2
    folder.reads = 0
    assert tree.at_hand(65_999)
    tree.inclusion(65_999, 66_000)
    assert folder.reads == 0
    assert not tree.at_hand(5, 65_999)
    tree.inclusion(5, 66_000)
    assert folder.reads == 2  # its tile, and the one above


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: bytes(32) + data[32:], lambda _: b""]
)
def test_a_tile_that_is_not_of_the_tree(level: int, change: Callable[[bytes], bytes]) -> None:
    tree, folder = released(LEAVES, 66_000)
    assert tree.inclusion(5, 66_000)
    tree._read = KeptTiles(2)
    wrong = TileId(level, 0)
    folder.tiles[wrong] = change(folder.tiles[wrong])
    with pytest.raises(DiffersError) as raised:
        tree.inclusion(5, 66_000)
    assert raised.value.args == (wrong,)


def test_what_is_released_is_not_taken_back() -> None:
    tree, _ = released(LEAVES[:600], 520)
    tree.truncate(520)
    assert tree.root() == mth(LEAVES[:520])
    with pytest.raises(ValueError, match="a size it had"):
        tree.truncate(519)
    with pytest.raises(ValueError, match="beyond the tree"):
        tree.release(521)
    with pytest.raises(ValueError, match="beyond the tree"):
        tree_of(LEAVES[:3]).release(3)


@pytest.mark.parametrize("size", [3, 256, 300])
def test_edges_of_another_size(size: int) -> None:
    whole = tree_of(LEAVES[:400])
    edges = {tile: whole.tile(tile) for tile in edge(size)}
    assert Tree.at(size, edges, Folder()).size == size
    last = max(edges, key=lambda tile: -tile.level)
    with pytest.raises(ValueError, match="hashes has"):
        Tree.at(size, {**edges, last: edges[last] + bytes(32)}, Folder())
    with pytest.raises(ValueError, match="hashes has"):
        Tree.at(size + 1, edges, Folder())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.integers(0, 300))
def test_a_frontier_has_the_root_of_the_tree(kept: int, added: int) -> None:
    tree = tree_of(LEAVES[:kept])
    frontier = Frontier(tree)
    for leaf in LEAVES[kept : kept + added]:
        frontier.append(leaf)
        tree.append(leaf)
    assert (frontier.size, frontier.root()) == (tree.size, tree.root())


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 6), (0, 0)])
def test_no_inclusion_beyond_the_tree(index: int, size: int) -> None:
    tree = tree_of(leaves(5))
    assert len(tree.inclusion(2, 3)) == 1
    with pytest.raises(ValueError, match=r"tree|negative"):
        tree.inclusion(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (1, 6), (-1, 3)])
def test_no_consistency_beyond_the_tree(old: int, new: int) -> None:
    tree = tree_of(leaves(5))
    assert tree.consistency(3, 3) == []
    with pytest.raises(ValueError, match="tree"):
        tree.consistency(old, new)


def test_a_leaf_is_a_hash() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tree().append(b"data")


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes | None:
    """RFC 9162 §2.1.3.2: what a verifier computes; None where it refuses."""
    if index >= size:
        return None
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return node if sn == 0 else None


def published(name: str) -> list[dict[str, Any]]:
    cases = [json.loads(line) for line in (VECTORS / name).read_text().splitlines()]
    # One case says of its roots that a verifier need not look at them; a prover has no use for it.
    return [
        case for case in cases if not case["wantErr"] and "don't care" not in _text(case.get("root1", ""))
    ]


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


# The leaves of the trees behind the published vectors (certificate-transparency's reference data).
REFERENCE = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]


@pytest.mark.parametrize("case", published("inclusion.jsonl"), ids=lambda case: case["name"])
def test_published_inclusion_proofs(case: dict[str, Any]) -> None:
    tree = tree_of([leaf_hash(leaf) for leaf in REFERENCE])
    index, size = case["leafIdx"], case["treeSize"]
    proof = [base64.b64decode(node) for node in case["proof"] or []]
    root = base64.b64decode(case["root"])
    assert root_from_inclusion(base64.b64decode(case["leafHash"]), index, size, proof) == root
    if root == tree.root(size):
        assert tree.inclusion(index, size) == proof


@pytest.mark.parametrize("case", published("consistency.jsonl"), ids=lambda case: case["name"])
def test_published_consistency_proofs(case: dict[str, Any]) -> None:
    tree = tree_of([leaf_hash(leaf) for leaf in REFERENCE])
    old, new = case["size1"], case["size2"]
    assert base64.b64decode(case["root1"]) == tree.root(old)
    assert base64.b64decode(case["root2"]) == tree.root(new)
    assert tree.consistency(old, new) == [base64.b64decode(node) for node in case["proof"] or []]
