"""The tree against RFC 6962's own recursive definition, and against published vectors."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.core.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash

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
