"""RFC 6962 trees, verified: published vectors, and a tree written from the definitions."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from birthmark.proof.errors import ProofError, Reason
from birthmark.proof.merkle import Frontier, leaf_hash, node_hash, verify_consistency, verify_inclusion
from harness.paper_tree import PaperTree

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"


def _cases(name: str) -> list[Any]:
    lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item) for item in case["proof"] or []]


@pytest.mark.parametrize("case", _cases("inclusion.jsonl"))
def test_published_inclusion_cases(case: dict[str, Any]) -> None:
    with pytest.raises(ProofError) if case["wantErr"] else contextlib.nullcontext():
        verify_inclusion(
            index=case["leafIdx"],
            size=case["treeSize"],
            root=base64.b64decode(case["root"]),
            leaf=base64.b64decode(case["leafHash"]),
            proof=_proof(case),
        )


@pytest.mark.parametrize("case", _cases("consistency.jsonl"))
def test_published_consistency_cases(case: dict[str, Any]) -> None:
    with pytest.raises(ProofError) if case["wantErr"] else contextlib.nullcontext():
        verify_consistency(
            old_size=case["size1"],
            old_root=base64.b64decode(case["root1"]),
            new_size=case["size2"],
            new_root=base64.b64decode(case["root2"]),
            proof=_proof(case),
        )


def _tree(size: int) -> PaperTree:
    tree = PaperTree()
    for index in range(size):
        tree.append(b"%d" % index)
    return tree


def _included(**arguments: Any) -> bool:
    try:
        verify_inclusion(**arguments)
    except ProofError as error:
        assert error.reason is Reason.NOT_PROVED  # noqa: PT017 (one of two outcomes)
        return False
    return True


def _consistent(**arguments: Any) -> bool:
    try:
        verify_consistency(**arguments)
    except ProofError as error:
        assert error.reason is Reason.NOT_PROVED  # noqa: PT017 (one of two outcomes)
        return False
    return True


def test_every_proof_of_small_trees_holds_and_every_change_of_one_does_not() -> None:
    tree = _tree(33)
    for size in range(1, 34):
        root = tree.root(size)
        for index in range(size):
            proof = tree.inclusion(index, size)
            leaf = leaf_hash(b"%d" % index)
            assert _included(index=index, size=size, root=root, leaf=leaf, proof=proof)
            assert not _included(index=index, size=size, root=root, leaf=leaf, proof=[*proof, bytes(32)])
            assert not _included(index=index, size=size, root=root, leaf=bytes(32), proof=proof)
        for old in range(1, size + 1):
            proof = tree.consistency(old, size)
            roots = {"old_root": tree.root(old), "new_root": root}
            assert _consistent(old_size=old, new_size=size, proof=proof, **roots)
            assert not _consistent(old_size=old, new_size=size, proof=[*proof, bytes(32)], **roots)
            if proof:
                assert not _consistent(old_size=old, new_size=size, proof=proof[:-1], **roots)


@given(st.data())
def test_a_bit_flipped_anywhere_in_a_proof_is_noticed(data: st.DataObject) -> None:
    tree = _tree(21)
    size = data.draw(st.integers(2, 21))
    index = data.draw(st.integers(0, size - 1))
    inclusion = tree.inclusion(index, size)
    flipped = _flipped(data, inclusion)
    leaf, root = leaf_hash(b"%d" % index), tree.root(size)
    assert _included(index=index, size=size, root=root, leaf=leaf, proof=inclusion)
    assert not _included(index=index, size=size, root=root, leaf=leaf, proof=flipped)
    old = data.draw(st.integers(1, size - 1))
    consistency = tree.consistency(old, size)
    sizes = {"old_size": old, "old_root": tree.root(old), "new_size": size, "new_root": root}
    assert _consistent(**sizes, proof=consistency)
    assert not _consistent(**sizes, proof=_flipped(data, consistency))


def _flipped(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    which, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    number = int.from_bytes(proof[which]) ^ 1 << bit
    return [*proof[:which], number.to_bytes(32), *proof[which + 1 :]]


def test_a_frontier_has_the_root_of_each_size_and_goes_on_from_what_was_kept() -> None:
    tree = _tree(70)
    frontier = Frontier()
    assert frontier.root() == sha256(b"").digest()
    for index in range(70):
        frontier = Frontier(frontier.size, frontier.hashes)
        frontier.append(leaf_hash(b"%d" % index))
        assert frontier.root() == tree.root(index + 1)


def test_a_frontier_takes_many_leaves_at_once() -> None:
    frontier, tree = Frontier(), _tree(70)
    frontier.extend(leaf_hash(b"%d" % index) for index in range(3))
    frontier.extend(leaf_hash(b"%d" % index) for index in range(3, 70))
    assert (frontier.size, frontier.root()) == (70, tree.root(70))


def test_a_source_of_leaves_that_breaks_off_leaves_a_whole_tree() -> None:
    def broken() -> Iterator[bytes]:
        yield from (leaf_hash(b"%d" % index) for index in range(5))
        raise OSError("no more")

    frontier = Frontier()
    with pytest.raises(OSError, match="no more"):
        frontier.extend(broken())
    assert (frontier.size, frontier.root()) == (5, _tree(5).root(5))


def test_a_copy_grows_alone() -> None:
    frontier = Frontier()
    frontier.append(leaf_hash(b"0"))
    root = frontier.root()
    frontier.copy().append(leaf_hash(b"1"))
    assert frontier.root() == root
    assert frontier.root() != node_hash(root, leaf_hash(b"1"))


@pytest.mark.parametrize(
    ("size", "hashes"), [(3, [bytes(32)]), (1, [bytes(31)]), (-1, []), (2**63, [bytes(32)])]
)
def test_a_frontier_of_another_form_is_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(ProofError):
        Frontier(size, hashes)


@given(
    st.integers(-2, 2**65),
    st.integers(-2, 2**65),
    st.lists(st.binary(max_size=40) | st.just(bytes(32)), max_size=140),
)
def test_any_proof_of_something_else_is_refused(first: int, second: int, proof: list[bytes]) -> None:
    zero, one = bytes(32), bytes([1]) * 32
    with pytest.raises(ProofError):
        verify_inclusion(index=first, size=second, root=one, leaf=zero, proof=proof)
    with pytest.raises(ProofError):
        verify_consistency(old_size=first, old_root=zero, new_size=second, new_root=one, proof=proof)
