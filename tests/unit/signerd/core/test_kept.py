"""What a start goes on from: its bytes, its MAC, and that it leads where the entries lead."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.state.boards import Boards, Revocation
from signerd.core.state.kept import Changes, KeptState, KeptStateError, mac

NOW = datetime(2026, 11, 15, 12, 0, 0, tzinfo=UTC)
LEAVES = [leaf_hash(str(number).encode()) for number in range(100)]


def frontier_of(count: int) -> Frontier:
    frontier = Frontier()
    for leaf in LEAVES[:count]:
        frontier.append(leaf)
    return frontier


def boards_of(count: int) -> Boards:
    boards = Boards()
    boards.took("WO-1", 7)
    boards.took("WO-ä", 1)
    for number in range(count):
        digest = hashlib.sha256(bytes([number])).digest()
        reason = ("superseded", "keyCompromise")[number % 2]
        boards.revocations.add(Revocation(digest, 2**159 - number, NOW, reason))
    return boards


def kept_of(size: int = 77, revoked: int = 3) -> KeptState:
    changes = Changes()
    for index in (0, 5, 2**40):
        changes.add(index, LEAVES[index % 100])
    nodes = frontier_of(size).nodes()
    return KeptState.of("1.2.3", "test.example/line", size, nodes, changes, boards_of(revoked))


@pytest.mark.parametrize("revoked", [0, 1, 200])
def test_it_is_read_as_it_was_written(revoked: int) -> None:
    kept = kept_of(revoked=revoked)
    read = KeptState.read(kept.encode(), "1.2.3")
    assert read == kept
    boards = read.boards()
    assert boards.highest == {"WO-1": 7, "WO-ä": 1}
    assert list(boards.revocations) == list(boards_of(revoked).revocations)
    assert all(boards.revocations.hold(each.certificate_sha256) for each in boards_of(revoked).revocations)
    assert not boards.revocations.hold(bytes(32))


def test_revocations_go_on_after_it() -> None:
    boards, more = KeptState.read(kept_of().encode(), "1.2.3").boards(), boards_of(5)
    for each in list(more.revocations)[3:]:
        boards.revocations.add(each)
    assert list(boards.revocations) == list(more.revocations)
    assert all(boards.revocations.hold(each.certificate_sha256) for each in more.revocations)


@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 77, 99])
def test_its_tree_goes_on_to_the_same_root(size: int) -> None:
    frontier = KeptState.read(kept_of(size).encode(), "1.2.3").frontier()
    assert frontier.root() == frontier_of(size).root()
    for leaf in LEAVES[size:]:
        frontier.append(leaf)
    assert (frontier.size, frontier.root()) == (100, frontier_of(100).root())


def test_another_version_of_the_program_does_not_go_on_from_it() -> None:
    with pytest.raises(KeptStateError, match=r"version 1\.2\.3 kept it"):
        KeptState.read(kept_of().encode(), "1.2.4")


def test_it_counts_for_its_log_and_within_the_published_tree() -> None:
    kept = kept_of(77)
    kept.demand_covered("test.example/line", 77)
    with pytest.raises(KeptStateError, match=r"of the log test\.example/line"):
        kept.demand_covered("test.example/other", 77)
    with pytest.raises(KeptStateError, match="of 77 entries, and a checkpoint covers 76"):
        kept.demand_covered("test.example/line", 76)


def test_its_mac_is_over_its_start_and_all_its_bytes() -> None:
    data, key, start = kept_of().encode(), bytes(32), bytes(16)
    right = mac(key, start, data)
    assert right == mac(key, start, data)
    altered = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    assert right not in [mac(key, start, each) for each in altered]
    assert right not in (mac(key, start, data[:-1]), mac(key, b"\1" * 16, data), mac(b"\1" * 32, start, data))
