"""A tree that grows by chunks: the same root as one that is made at once, and hashes of bundles that hold."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from auditor.core.growth import BUNDLE, Growth, bundle_hash, leaf_hashes
from auditor.errors import Malformed
from birthmark.proof import Frontier

LEAVES = leaf_hashes([str(number).encode() for number in range(1_100)])
SIZES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 768, 1_023, 1_024, 1_025, 1_100]


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, as it is written there."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def test_a_leaf_hash_is_that_of_rfc_6962() -> None:
    assert leaf_hashes([b"", b"x"]) == [sha256(b"\x00").digest(), sha256(b"\x00x").digest()]


@pytest.mark.parametrize("size", SIZES)
def test_the_root_does_not_depend_on_the_chunks(size: int) -> None:
    rng = random.Random(size)
    growth, finished, at = Growth.empty(), list[bytes](), 0
    while at < size:
        step = rng.choice([1, 2, 100, 255, 256, 257, 600])
        finished += growth.extend(LEAVES[at : min(at + step, size)])
        at += step
    assert (growth.size, growth.bundles, growth.root()) == (size, size // BUNDLE, root_of(LEAVES[:size]))
    starts = range(0, size - size % BUNDLE, BUNDLE)
    assert finished == [root_of(LEAVES[start : start + BUNDLE]) for start in starts]


@pytest.mark.parametrize("size", SIZES)
def test_it_goes_on_from_what_was_kept(size: int) -> None:
    growth = Growth.empty()
    growth.extend(LEAVES[:size])
    again = Growth.of(growth.frontier(), growth.tail)
    again.extend(LEAVES[size:])
    assert again.root() == root_of(LEAVES)
    assert growth.root() == root_of(LEAVES[:size])  # the other did not grow with it


def test_whole_bundles_stand_for_their_entries() -> None:
    growth = Growth.empty()
    for start in range(0, 1_024, BUNDLE):
        growth.extend_by(bundle_hash(LEAVES[start : start + BUNDLE]))
    growth.extend(LEAVES[1_024:])
    assert growth.root() == root_of(LEAVES)
    with pytest.raises(Malformed):
        growth.extend_by(bytes(32))


def test_a_copy_grows_on_its_own() -> None:
    growth = Growth.empty()
    growth.extend(LEAVES[:300])
    other = growth.copy()
    other.extend(LEAVES[300:])
    assert growth.root() == root_of(LEAVES[:300])
    assert other.root() == root_of(LEAVES)


def test_what_does_not_go_together_is_refused() -> None:
    growth = Growth.empty()
    growth.extend(LEAVES[:300])
    frontier, tail = growth.frontier(), growth.tail
    altered = [bytes(32), *tail[1:]]
    for wrong in (tail[:-1], [*tail, LEAVES[0]], altered, [], [b"short", *tail[1:]], [bytes(32)] * BUNDLE):
        with pytest.raises(Malformed):
            Growth.of(frontier, wrong)
    with pytest.raises(Malformed):
        Growth.of(Frontier(), tail)
    with pytest.raises(Malformed):
        bundle_hash(LEAVES[:255])
