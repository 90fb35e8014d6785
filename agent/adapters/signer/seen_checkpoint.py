"""The newest checkpoint of the log that this station saw: in the state folder, and sent with each session.

It makes the station a witness: a signerd that was restored from a backup, or a copy of one, cannot go on
behind it. The file is the signed note alone, one for each log: who needs the last known checkpoint after a
loss takes it from there.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

from agent.adapters.durable_files import replace
from agent.core.log_keys import LogKey
from agent.errors import BadAnswer, JournalError
from birthmark.proof import Checkpoint, ProofError, open_checkpoint
from birthmark.proof.note import MAX_NOTE_BYTES

MAX_SENT_BYTES = 8_192  # of signing.proto


class SeenCheckpoint:
    """Of one log, read when it is made."""

    def __init__(self, state: Path, key: LogKey) -> None:
        """`state`: the state folder, which need not be there yet. What none of these keys signed is no
        checkpoint: the next one takes its place.

        Raises:
            JournalError: it cannot be read.
        """
        log = hashlib.sha256(key.name.encode()).hexdigest()[:16]
        self.path = state / f"seen-checkpoint-{log}"
        self._key = key
        self._lock = asyncio.Lock()
        self._note = b""
        self._newest: Checkpoint | None = None
        try:
            with self.path.open("rb") as file:
                note = file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"cannot read {self.path}: {error.strerror}") from error
        with suppress(ProofError):
            self._newest = open_checkpoint(note, key.verifiers)
            self._note = note

    @property
    def to_send(self) -> bytes:
        """The signed note; empty: none was seen."""
        return self._note if len(self._note) <= MAX_SENT_BYTES else b""

    async def saw(self, proof: bytes) -> None:
        """Takes the checkpoint of a receipt, if it is newer. On the disk when this returns.

        A crash before leaves the one of before: this station has seen a little less. A receipt whose
        checkpoint is not signed is passed over here, and refused where it is verified.

        Raises:
            BadAnswer: of two trees of one size.
            JournalError: it cannot be written.
        """
        _, _, note = proof.partition(b"\n\n")
        try:
            checkpoint = open_checkpoint(note, self._key.verifiers)
        except ProofError:
            return
        async with self._lock:
            newest = self._newest
            if newest is not None and checkpoint.size == newest.size and checkpoint.root != newest.root:
                raise BadAnswer(f"two trees of {newest.size} entries are signed: keep {self.path}")
            if newest is not None and checkpoint.size <= newest.size:
                return
            try:
                await asyncio.to_thread(replace, self.path, note, 0o600)
            except OSError as error:
                raise JournalError(f"cannot write {self.path}: {error.strerror}") from error
            self._newest, self._note = checkpoint, note
