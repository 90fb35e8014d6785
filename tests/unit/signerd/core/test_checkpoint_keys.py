"""Keys of the log, one after the other: who signs at which size, and what each state allows."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signerd.core.checkpoint_keys import KeyState, LogKeys, StepRefusedError
from signerd.core.note import Checkpoint, NoteError, VerifierKey, sign_note

ORIGIN = "example/log"
PRIVATE = [Ed25519PrivateKey.generate() for _ in range(3)]
FIRST, SECOND, THIRD = (VerifierKey(ORIGIN, key.public_key().public_bytes_raw()) for key in PRIVATE)
IDS = [key.key_id.hex() for key in (FIRST, SECOND, THIRD)]


def note(size: int, *signers: int, origin: str = ORIGIN) -> bytes:
    body = Checkpoint(origin, size, bytes(32)).body()
    keys = (FIRST, SECOND, THIRD)
    return sign_note(body, *((keys[each], PRIVATE[each].sign(body)) for each in signers))


ALONE = LogKeys.first(FIRST)
ANNOUNCED = ALONE.added(SECOND, 5)
BOTH = ANNOUNCED.activated(IDS[1], 8, note(7, 0))
ROTATED = BOTH.retired(IDS[0], 10)


def test_who_signs_follows_from_the_size() -> None:
    assert [ROTATED.signers(size) for size in (1, 8, 9, 10, 11)] == [
        (FIRST,),
        (FIRST,),
        (FIRST, SECOND),
        (FIRST, SECOND),
        (SECOND,),
    ]
    assert ROTATED.signers(0) == ()
    assert [key.state for key in ROTATED.keys] == [KeyState.RETIRED, KeyState.SIGNING]


@pytest.mark.parametrize(("size", "signers"), [(8, [0]), (9, [0, 1]), (10, [1, 0]), (11, [1]), (11, [1, 0])])
def test_a_note_of_all_who_sign_is_read(size: int, signers: list[int]) -> None:
    assert ROTATED.open(note(size, *signers)).size == size


@pytest.mark.parametrize(
    ("size", "signers"), [(8, [1]), (9, [0]), (9, [1]), (10, [0, 2]), (11, [0]), (11, [2]), (0, [0])]
)
def test_a_note_without_one_of_them_is_not(size: int, signers: list[int]) -> None:
    with pytest.raises(NoteError):
        ROTATED.open(note(size, *signers))


def test_a_note_of_another_log_is_not() -> None:
    with pytest.raises(NoteError):
        ROTATED.open(note(8, 0, origin="elsewhere"))


def refused(keys: LogKeys, step: str, *arguments: object) -> str:
    with pytest.raises(StepRefusedError) as caught:
        getattr(keys, step)(*arguments)
    return str(caught.value)


def test_what_each_state_refuses() -> None:
    elsewhere = VerifierKey("elsewhere", THIRD.public_key)
    assert "and the log is" in refused(ALONE, "added", elsewhere, 5)
    for keys in (ALONE, BOTH, ROTATED):
        assert "already" in refused(keys, "added", FIRST, 20)
    for keys in (ANNOUNCED, BOTH):
        assert "retire one of the two" in refused(keys, "added", THIRD, 20)
    assert ROTATED.added(THIRD, 20).keys[-1].state is KeyState.ANNOUNCED
    assert "no key" in refused(ALONE, "activated", IDS[1], 8, note(7, 0))
    assert "signing already" in refused(BOTH, "activated", IDS[1], 20, note(20, 0, 1))
    assert "retired already" in refused(ROTATED, "activated", IDS[0], 20, note(20, 1))
    assert "the only one that signs" in refused(ALONE, "retired", IDS[0], 20)
    assert "the only one that signs" in refused(ANNOUNCED, "retired", IDS[0], 20)
    assert "the only one that signs" in refused(ROTATED, "retired", IDS[1], 20)
    assert "retired already" in refused(ROTATED, "retired", IDS[0], 20)


def test_a_key_is_taken_back_before_it_signs_and_while_both_do() -> None:
    gone = ANNOUNCED.retired(IDS[1], 6)
    assert gone.signers(100) == (FIRST,)
    assert "retired already" in refused(gone, "activated", IDS[1], 8, note(7, 0))
    assert BOTH.retired(IDS[1], 12).signers(13) == (FIRST,)


@pytest.mark.parametrize(
    "proof",
    [note(5, 0), note(9, 0), note(7, 1), note(7, 2), b"", note(7, 0)[:-1]],
    ids=["before", "beyond", "own", "stranger", "empty", "cut"],
)
def test_a_key_signs_only_with_a_checkpoint_of_the_one_before_over_its_announcement(proof: bytes) -> None:
    assert refused(ANNOUNCED, "activated", IDS[1], 8, proof)
