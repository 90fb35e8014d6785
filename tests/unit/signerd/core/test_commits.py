"""MACs of commits: which entries beyond a checkpoint count, and what may not be put in or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from signerd.core.commits import Commit, CommitError, KeptCommit, Uncovered, oldest_needed
from signerd.core.merkle import leaf_hash

ORIGIN = "test.example/line"
START, OTHER_START = bytes(16), b"\x01" * 16
KEY = b"k" * 32
KEYS = {START: [KEY]}


def leaves(*names: str) -> list[bytes]:
    return [leaf_hash(name.encode()) for name in names]


BEFORE, FIRST, SECOND = leaves("a", "b", "c"), leaves("d", "e"), leaves("f")


def kept(
    entries: Sequence[bytes], *, epoch: int = 1, published: int = 3, start: bytes = START, key: bytes = KEY
) -> KeptCommit:
    commit = Commit(start, epoch, published, b"".join(entries))
    return KeptCommit(commit, commit.mac(key, ORIGIN))


def log(
    commits: Sequence[KeptCommit],
    entries: Sequence[bytes] = (*FIRST, *SECOND),
    *,
    epochs: Sequence[int] = (1, 1, 1),
    before: Sequence[bytes] = BEFORE,
) -> Uncovered:
    return Uncovered(ORIGIN, 3, before, list(entries), list(epochs), list(commits))


HONEST = [kept(FIRST), kept(SECOND)]


def test_entries_under_macs_count() -> None:
    log(HONEST).demand(KEYS)


def test_nothing_beyond_the_checkpoint_needs_none() -> None:
    log([], [], epochs=()).demand({})


def test_a_commit_may_begin_under_the_checkpoint() -> None:
    log([kept([BEFORE[2], *FIRST], published=2), kept(SECOND)]).demand(KEYS)


def test_one_of_several_keys_of_a_start_is_enough() -> None:
    log(HONEST).demand({START: [b"x" * 32, KEY]})


FORGED: dict[str, tuple[Uncovered, str]] = {
    "an entry more": (log(HONEST, [*FIRST, *SECOND, *leaves("g")], epochs=(1, 1, 1, 1)), "no commit has"),
    "another entry": (log(HONEST, [*FIRST, *leaves("x")]), "not the one"),
    "another first entry": (log(HONEST, [*leaves("x"), FIRST[1], *SECOND]), "not the one"),
    "in another order": (log(HONEST, [FIRST[1], FIRST[0], *SECOND]), "not the one"),
    "no MAC at all": (log([]), "no commit has"),
    "a MAC of another key": (log([kept(FIRST), kept(SECOND, key=b"x" * 32)]), "does not hold"),
    "a MAC of a start that nobody has a key of": (
        log([kept(FIRST), kept(SECOND, start=OTHER_START)]),
        "does not hold",
    ),
    "a MAC of another log": (
        replace(log(HONEST), origin="other.example/line"),
        "does not hold",
    ),
    "another epoch beside the MAC": (
        log([HONEST[0], replace(HONEST[1], commit=replace(HONEST[1].commit, epoch=2))], epochs=(1, 1, 2)),
        "does not hold",
    ),
    "another size beside the MAC": (
        log([HONEST[0], replace(HONEST[1], commit=replace(HONEST[1].commit, published=9))]),
        "does not hold",
    ),
    "a MAC that is cut": (log([HONEST[0], replace(HONEST[1], mac=HONEST[1].mac[:31])]), "does not hold"),
    "a commit once more": (
        log([*HONEST, kept(SECOND)], [*FIRST, *SECOND, *SECOND], epochs=(1, 1, 1, 1)),
        "before",
    ),
    "a commit of under the checkpoint once more": (
        log([*HONEST, kept(BEFORE[2:], published=2)], [*FIRST, *SECOND, BEFORE[2]], epochs=(1, 1, 1, 1)),
        "before",
    ),
    "a checkpoint that is older than commits": (log([kept(SECOND)]), "over 5 entries or more"),
    "one that changed the administration is left out": (
        log([kept(SECOND, epoch=2)], SECOND, epochs=(1,)),
        "another administration",
    ),
    "more commits than entries": (log([*HONEST, *HONEST, *HONEST]), "under no checkpoint"),
    "entries of under the checkpoint that are not there": (
        log([kept([*leaves("x"), *FIRST], published=2), kept(SECOND)]),
        "not the one",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_signerd_did_not_commit_is_refused(name: str) -> None:
    doctored, reason = FORGED[name]
    with pytest.raises(CommitError, match=reason):
        doctored.demand(KEYS)


def test_each_member_is_under_the_mac() -> None:
    commit = HONEST[0].commit
    others = [
        replace(commit, start=OTHER_START),
        replace(commit, epoch=2),
        replace(commit, published=4),
        replace(commit, leaves=commit.leaves[:32]),
        replace(commit, leaves=commit.leaves[32:]),
    ]
    macs = {each.mac(KEY, ORIGIN) for each in (commit, *others)}
    assert len({*macs, commit.mac(b"x" * 32, ORIGIN), commit.mac(KEY, "x")}) == 8


@pytest.mark.parametrize(
    "row",
    [
        (b"short", 1, 1, bytes(32), b""),
        (START, -1, 1, bytes(32), b""),
        (START, 2**63, 1, bytes(32), b""),
        (START, 1, -1, bytes(32), b""),
        (START, 1, 1, b"", b""),
        (START, 1, 1, bytes(33), b""),
        (START, "1", 1, bytes(32), b""),
        (None, 1, 1, bytes(32), b""),
        (START, 1, 1, bytes(32), None),
    ],
    ids=repr,
)
def test_rows_of_another_form_are_refused(row: tuple[object, ...]) -> None:
    assert KeptCommit.read(START, 1, 1, bytes(32), b"").commit.count == 1
    with pytest.raises(CommitError, match="another form"):
        KeptCommit.read(*row)


def test_how_far_back_entries_are_compared() -> None:
    assert oldest_needed(3, []) == 3
    assert oldest_needed(3, HONEST) == 1  # the longest commit may begin two entries before
    assert oldest_needed(900, [kept(SECOND, published=700)]) == 700
