"""Checkpoints that others saw of this log: which of them count, and what they say of the tree that is here.

One counts if a key of the log signed it that is not retired: one that signs, one that is announced, or one
that the settings name. The last two, because the database may be a copy of before their entries, which is
what is looked for. A retired key's does not count: it may have been retired because a stranger knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from signerd.core.checkpoint_keys import KeyState, LogKeys
from signerd.core.note import Checkpoint, NoteError, VerifierKey, claimed_checkpoint, open_checkpoint
from signerd.core.succession import Succession, number_of

MAX_SEEN_CHECKPOINT = 8_192  # bytes, of signing.proto; a note with sixteen cosignatures has some 4,000


class Standing(Enum):
    """What a checkpoint says of a tree."""

    HELD = "the tree continues it"
    AHEAD = "it is of a larger tree"
    FORKED = "the tree had another root at its size"


def counting_keys(keys: LogKeys, named: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Whose signature counts. `named`: keys in the settings."""
    retired = {key.verifier for key in keys.keys if key.state is KeyState.RETIRED}
    wanted = dict.fromkeys((*(key.verifier for key in keys.keys), *named))
    return tuple(key for key in wanted if key not in retired and key.name == keys.origin)


def open_seen(note: bytes, counting: Iterable[VerifierKey]) -> Checkpoint:
    """Reads a note that one of these keys signed, and perhaps others, under the log's name or a successor's.

    Raises:
        NoteError: it is too long, of another form or log, or signed by none of them.
    """
    if len(note) > MAX_SEEN_CHECKPOINT:
        raise NoteError("the note is too long")
    failure = NoteError("no key of the log counts")
    origin = claimed_checkpoint(note, None).origin
    for key in counting:
        name = key.name if number_of(origin, key.name) is None else origin
        try:
            return open_checkpoint(note, key.named(name))
        except NoteError as error:
            failure = error
    raise failure


def standing(seen: Checkpoint, size: int, root_of: Callable[[int], bytes]) -> Standing:
    """What it says of the tree of this size. `root_of` gives roots up to there."""
    if seen.size > size:
        return Standing.AHEAD
    return Standing.HELD if root_of(seen.size) == seen.root else Standing.FORKED


def standing_in(seen: Checkpoint, keys: LogKeys, size: int, root_of: Callable[[int], bytes]) -> Standing:
    """The same where the log has successors: `seen` may be of one before, whose end is known to be lost, or
    of a later one, which this tree knows nothing of."""
    number = number_of(seen.origin, keys.origin) or 1
    if number > keys.number:
        return Standing.AHEAD
    if number == keys.number:
        return standing(seen, size, root_of)
    return _standing_before(seen, number, keys.successions[-1], root_of)


def _standing_before(
    seen: Checkpoint, number: int, succession: Succession, root_of: Callable[[int], bytes]
) -> Standing:
    known = succession.predecessor(number)
    if seen.size <= known.continued:
        return Standing.HELD if root_of(seen.size) == seen.root else Standing.FORKED
    if seen.size > known.size:
        return Standing.AHEAD  # more was lost than was said
    forked = seen.size == known.size and seen.root != known.root
    return Standing.FORKED if forked else Standing.HELD
