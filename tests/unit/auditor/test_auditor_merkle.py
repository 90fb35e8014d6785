"""The verifier's half of RFC 6962, against published vectors and a tree written from the definitions."""

from __future__ import annotations

import base64
import contextlib
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.merkle import Frontier, is_consistent, is_included, leaf_hash
from auditor.errors import Malformed
from harness.paper_tree import PaperTree

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"


def _cases(name: str) -> list[Any]:
    lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item) for item in case["proof"] or []]


@pytest.mark.parametrize("case", _cases("inclusion.jsonl"))
def test_published_inclusion_cases(case: dict[str, Any]) -> None:
    try:
        accepted = is_included(
            index=case["leafIdx"],
            size=case["treeSize"],
            root=base64.b64decode(case["root"]),
            leaf=base64.b64decode(case["leafHash"]),
            proof=_proof(case),
        )
    except Malformed:
        accepted = False
    assert accepted is not case["wantErr"]


@pytest.mark.parametrize("case", _cases("consistency.jsonl"))
def test_published_consistency_cases(case: dict[str, Any]) -> None:
    try:
        accepted = is_consistent(
            old_size=case["size1"],
            old_root=base64.b64decode(case["root1"]),
            new_size=case["size2"],
            new_root=base64.b64decode(case["root2"]),
            proof=_proof(case),
        )
    except Malformed:
        accepted = False
    assert accepted is not case["wantErr"]


def _tree(size: int) -> PaperTree:
    tree = PaperTree()
    for index in range(size):
        tree.append(b"%d" % index)
    return tree


def test_every_proof_of_small_trees_holds_and_every_change_of_one_does_not() -> None:
    tree = _tree(33)
    for size in range(1, 34):
        root = tree.root(size)
        for index in range(size):
            proof = tree.inclusion(index, size)
            leaf = leaf_hash(b"%d" % index)
            assert is_included(index=index, size=size, root=root, leaf=leaf, proof=proof)
            assert not is_included(index=index, size=size, root=root, leaf=leaf, proof=[*proof, bytes(32)])
            assert not is_included(index=index, size=size, root=root, leaf=bytes(32), proof=proof)
        for old in range(1, size + 1):
            proof = tree.consistency(old, size)
            roots = {"old_root": tree.root(old), "new_root": root}
            assert is_consistent(old_size=old, new_size=size, proof=proof, **roots)
            assert not is_consistent(old_size=old, new_size=size, proof=[*proof, bytes(32)], **roots)
            if proof:
                assert not is_consistent(old_size=old, new_size=size, proof=proof[:-1], **roots)


def test_a_frontier_has_the_root_of_each_size_and_goes_on_from_what_was_kept() -> None:
    tree = _tree(70)
    frontier = Frontier.empty()
    assert frontier.root() == sha256(b"").digest()
    for index in range(70):
        frontier = Frontier(frontier.size, frontier.hashes)
        frontier.append(leaf_hash(b"%d" % index))
        assert frontier.root() == tree.root(index + 1)


def test_a_copy_grows_alone() -> None:
    frontier = Frontier.empty()
    frontier.append(leaf_hash(b"0"))
    root = frontier.root()
    frontier.copy().append(leaf_hash(b"1"))
    assert frontier.root() == root


@pytest.mark.parametrize(
    ("size", "hashes"), [(3, [bytes(32)]), (1, [bytes(31)]), (-1, []), (2**63, [bytes(32)])]
)
def test_a_frontier_of_another_form_is_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(Malformed):
        Frontier(size, hashes)


@given(
    st.integers(-2, 2**65),
    st.integers(-2, 2**65),
    st.lists(st.binary(max_size=40) | st.just(bytes(32)), max_size=140),
)
def test_no_proof_does_more_than_fail(first: int, second: int, proof: list[bytes]) -> None:
    zero, one = bytes(32), bytes([1]) * 32
    with contextlib.suppress(Malformed):
        assert not is_included(index=first, size=second, root=one, leaf=zero, proof=proof)
    with contextlib.suppress(Malformed):
        assert not is_consistent(old_size=first, old_root=zero, new_size=second, new_root=one, proof=proof)
