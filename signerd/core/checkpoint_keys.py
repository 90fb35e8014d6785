"""The log's keys, one after the other: which of them sign the checkpoint of a tree, and the steps they take.

    state     | since its entry           | signs a tree that has this entry  | steps from here
    ----------|---------------------------|-----------------------------------|------------------------------
    announced | checkpoint_key_added      | no                                | activate, retire (taken back)
    signing   | checkpoint_key_activated, | yes; beside it the key of before, | retire, if another one signs
              | or log_opened, the first  | until that one is retired         |
    retired   | checkpoint_key_retired    | no, and never again               | none

A tree of n entries has those of the indexes below n. So who signs follows from the entries and a size alone,
for signerd, auditors and a backup alike. At most two sign, and at most one is announced: a third is added
once the first has gone.

The announcement stands under a checkpoint of the keys of before, without the new one. That checkpoint is in
the activation, so that whoever reads the log later finds proof of each step in it. If the key of before is
lost:

    lost before its successor was announced    | the log ends: no key can be announced for it
    lost after the announcement was published  | activate with the checkpoint that was published last, retire
    lost while both sign                       | retire; what was entered meanwhile is published by the other

After a real loss the log goes on under another name (`core/succession.py`). The keys stay. Here each bears
the name of the log as it was opened, and signs a tree under the name that follows from the tree's size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from signerd.core.note import Checkpoint, NoteError, VerifierKey, claimed_checkpoint, open_checkpoint
from signerd.core.succession import Succession, origin_of

MAX_SIGNERS = 2  # at once


class KeyState(StrEnum):
    """Of a key, as of the last entry."""

    ANNOUNCED = "announced"
    SIGNING = "signing"
    RETIRED = "retired"


class Reason(StrEnum):
    """Why a key signs no more."""

    SUPERSEDED = "superseded"
    LOST = "lost"
    COMPROMISED = "compromised"


class StepRefusedError(Exception):
    """A key does not take this step now. The text says why, for an administrator."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """One key, with the indexes of its entries. The first one's are those of `log_opened`."""

    verifier: VerifierKey
    added: int
    activated: int | None = None
    retired: int | None = None

    @property
    def state(self) -> KeyState:
        """As of the last entry."""
        if self.retired is not None:
            return KeyState.RETIRED
        return KeyState.ANNOUNCED if self.activated is None else KeyState.SIGNING

    def signs(self, size: int) -> bool:
        """Whether it signs the tree of this size."""
        begun = self.activated is not None and self.activated < size
        return begun and (self.retired is None or self.retired >= size)


@dataclass(frozen=True, slots=True)
class LogKeys:
    """All keys of a log, the oldest first, and its successions."""

    keys: tuple[LogKey, ...]
    successions: tuple[Succession, ...] = ()

    @classmethod
    def first(cls, verifier: VerifierKey) -> LogKeys:
        """Of a log whose key has no successor."""
        return cls((LogKey(verifier, 0, 0),))

    @property
    def origin(self) -> str:
        """The log's name as it was opened, which is each key's."""
        return self.keys[0].verifier.name

    @property
    def number(self) -> int:
        """Which one of the log's successors it is, as of the last entry; 1: the log as it was opened."""
        return self.successions[-1].number if self.successions else 1

    def origin_at(self, size: int) -> str:
        """The name under which the tree of this size is signed."""
        numbers = [each.number for each in self.successions if each.index < size]
        return origin_of(self.origin, numbers[-1] if numbers else 1)

    def signers(self, size: int) -> tuple[VerifierKey, ...]:
        """Who signs the tree of this size, the oldest first."""
        return tuple(key.verifier for key in self.keys if key.signs(size))

    def open(self, note: bytes) -> Checkpoint:
        """Reads a note that all have signed who sign at its size.

        Raises:
            NoteError: it is of another form or log, or a signature is missing or does not hold.
        """
        size = claimed_checkpoint(note, None).size
        signers, origin = self.signers(size), self.origin_at(size)
        if not signers:
            raise NoteError("no key signs a tree of this size")
        (checkpoint, *_) = [open_checkpoint(note, key.named(origin)) for key in signers]  # each has to hold
        return checkpoint

    def named(self, key_id: str) -> LogKey:
        """The key of this id, 8 hexadecimal digits. Raises StepRefusedError."""
        for key in self.keys:
            if key.verifier.key_id.hex() == key_id:
                return key
        raise StepRefusedError(f"no key {key_id}: `signerd checkpoint-key list` lists them")

    def added(self, verifier: VerifierKey, index: int) -> LogKeys:
        """With one more, announced by the entry of this index. Raises StepRefusedError."""
        if verifier.name != self.origin:
            raise StepRefusedError(f"a key of {verifier.name}, and the log is {self.origin}")
        if any(verifier.key_id == key.verifier.key_id for key in self.keys):
            raise StepRefusedError(f"key {verifier.key_id.hex()} is a key of this log already")
        there = [key for key in self.keys if key.state is not KeyState.RETIRED]
        if len(there) >= MAX_SIGNERS:
            raise StepRefusedError(
                f"key {there[0].verifier.key_id.hex()} has a successor already: retire one of the two first,"
                " `signerd checkpoint-key list`"
            )
        return replace(self, keys=(*self.keys, LogKey(verifier, index)))

    def succeeded(self, succession: Succession) -> LogKeys:
        """Under another name from this entry on. Raises StepRefusedError."""
        if succession.number <= self.number:
            raise StepRefusedError(f"successor {succession.number} follows successor {self.number}")
        return replace(self, successions=(*self.successions, succession))

    def activated(self, key_id: str, index: int, proof: bytes) -> LogKeys:
        """With the announced key signing from the entry of this index on. `proof`: the last published
        checkpoint. Raises StepRefusedError."""
        key = self.named(key_id)
        if key.state is not KeyState.ANNOUNCED:
            raise StepRefusedError(f"key {key_id} is {key.state} already")
        try:
            checkpoint = self.open(proof)
        except NoteError as error:
            raise StepRefusedError(f"the last checkpoint does not hold: {error}") from error
        if not key.added < checkpoint.size <= index:
            raise StepRefusedError(
                f"no checkpoint of the keys of before is over the announcement of key {key_id} yet"
            )
        return self._changed(replace(key, activated=index))

    def retired(self, key_id: str, index: int) -> LogKeys:
        """With the key at its end from the entry of this index on. Raises StepRefusedError."""
        key = self.named(key_id)
        if key.state is KeyState.RETIRED:
            raise StepRefusedError(f"key {key_id} is retired already")
        if not [other for other in self.signers(index + 1) if other != key.verifier]:
            raise StepRefusedError(
                f"key {key_id} is the only one that signs: announce and activate another one first,"
                " `signerd checkpoint-key add`"
            )
        return self._changed(replace(key, retired=index))

    def _changed(self, changed: LogKey) -> LogKeys:
        keys = [changed if key.verifier == changed.verifier else key for key in self.keys]
        return replace(self, keys=tuple(keys))
