"""Checkpoints that others saw: whose signature counts, and what one says of a tree."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import Checkpoint, NoteError, VerifierKey, sign_note
from signerd.core.seen_checkpoint import MAX_SEEN_CHECKPOINT, Standing, counting_keys, open_seen, standing

ORIGIN = "example/log"
PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
FIRST, SECOND, THIRD = KEYS = [VerifierKey(ORIGIN, key.public_key().public_bytes_raw()) for key in PRIVATE]


def note(size: int, *signers: int, origin: str = ORIGIN) -> bytes:
    body = Checkpoint(origin, size, bytes(32)).body()
    return sign_note(body, *((KEYS[each], PRIVATE[each].sign(body)) for each in signers))


ALONE = LogKeys.first(FIRST)
ANNOUNCED = ALONE.added(SECOND, 5)
BOTH = ANNOUNCED.activated(SECOND.key_id.hex(), 8, note(7, 0))
ROTATED = BOTH.retired(FIRST.key_id.hex(), 10)


def test_keys_that_are_not_retired_count_and_those_of_the_settings() -> None:
    assert counting_keys(ALONE, ()) == (FIRST,)
    assert counting_keys(ANNOUNCED, ()) == (FIRST, SECOND)
    assert counting_keys(BOTH, [SECOND]) == (FIRST, SECOND)
    assert counting_keys(ROTATED, [FIRST]) == (SECOND,)  # also where the settings still name it
    assert counting_keys(ALONE, [SECOND]) == (FIRST, SECOND)  # a copy of before the announcement


def test_a_key_of_another_log_does_not_count() -> None:
    assert counting_keys(ALONE, [VerifierKey("elsewhere", SECOND.public_key)]) == (FIRST,)


@pytest.mark.parametrize("signers", [(0,), (1,), (0, 1), (1, 2)])
def test_one_that_a_key_of_the_log_signed_is_read(signers: tuple[int, ...]) -> None:
    assert open_seen(note(9, *signers), counting_keys(BOTH, ())).size == 9


RETIRED = note(9, 0)
FORGED = note(9, 1)[:-10] + b"AAAAAAAA=\n"
LONG = note(9, 1) + b"".join("— other {}\n".format("AAAA" * 40).encode() for _ in range(50))


@pytest.mark.parametrize(
    "wrong",
    [
        RETIRED,
        note(9, 2),
        note(9, 1, origin="elsewhere"),
        FORGED,
        note(9, 1)[:-1],
        note(9, 1)[1:],
        note(9, 1) * 2,
        note(9, 1, 1),
        LONG,
        b"\n\n",
        b"\xff" * 100,
    ],
)
def test_what_does_not_count(wrong: bytes) -> None:
    assert open_seen(note(9, 1), counting_keys(ROTATED, ())).size == 9
    with pytest.raises(NoteError):
        open_seen(wrong, counting_keys(ROTATED, ()))


def test_a_long_note_with_a_good_signature_is_too_long() -> None:
    assert len(LONG) > MAX_SEEN_CHECKPOINT
    with pytest.raises(NoteError, match="too long"):
        open_seen(LONG, counting_keys(ROTATED, ()))


def test_nothing_counts_without_a_key() -> None:
    with pytest.raises(NoteError):
        open_seen(note(9, 1), ())


def test_what_it_says_of_a_tree() -> None:
    tree, other = Tree(), Tree()
    for number in range(5):
        tree.append(leaf_hash(bytes([number])))
        other.append(leaf_hash(bytes([number + (number == 3)])))

    def said(size: int, root: bytes) -> Standing:
        return standing(Checkpoint(ORIGIN, size, root), tree.size, tree.root)

    assert [said(size, tree.root(size)) for size in range(6)] == [Standing.HELD] * 6
    assert [said(size, other.root(size)) for size in (3, 4, 5)] == [Standing.HELD, *[Standing.FORKED] * 2]
    assert said(6, bytes(32)) is Standing.AHEAD
