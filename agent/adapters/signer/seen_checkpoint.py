"""The newest checkpoint of the log that this station saw, and the log's successor that it follows: in the
state folder. The checkpoint is sent with each session.

It makes the station a witness: a signerd that was restored from a backup, or a copy of one, cannot go on
behind it. The file is the signed note alone, one for each log: who needs the last known checkpoint after a
loss takes it from there.

A log that lost its end goes on under another name. The station follows what the operations CA and the log's
key have both signed, if it speaks of what the station saw, and never goes back to a log of before.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from pathlib import Path

from cryptography import x509

from agent.adapters.durable_files import replace
from agent.core.log_keys import LogKey
from agent.errors import BadAnswer, BadSuccession, JournalError
from birthmark.proof import (
    Checkpoint,
    ProofError,
    Succession,
    log_name,
    open_checkpoint,
    open_succession,
    parse_succession,
    verify_receipt,
)
from birthmark.proof.note import MAX_NOTE_BYTES
from birthmark.proof.succession import MAX_SUCCESSION_BYTES

MAX_SENT_BYTES = 8_192  # of signing.proto
_LOG = logging.getLogger("agent.log_succession")
_DAMAGED = "Move it away, and start the agent again: signerd gives it once more."


class SeenCheckpoint:
    """Of one log and its successors, read when it is made."""

    def __init__(
        self, state: Path, key: LogKey, operations_cas: Callable[[], Sequence[x509.Certificate]] = tuple
    ) -> None:
        """`state`: the state folder, which need not be there yet. What none of these keys signed is no
        checkpoint: the next one takes its place. `operations_cas`: who may sign a succession; none: nobody.

        Raises:
            JournalError: it cannot be read.
        """
        self._state = state
        self._pinned = key
        self._cas = operations_cas
        self._lock = asyncio.Lock()
        log, self._number = log_name(key.name)
        self._succession_path = state / f"succession-{_digest(log)}"
        self._succession: Succession | None = None
        self.key = key
        self.path = self._path_of(key.name)
        self._note, self._newest = self._read(key)
        self._take(self._kept(log))

    def _path_of(self, origin: str) -> Path:
        return self._state / f"seen-checkpoint-{_digest(origin)}"

    def _read(self, key: LogKey) -> tuple[bytes, Checkpoint | None]:
        note = _content(self._path_of(key.name), MAX_NOTE_BYTES)
        with suppress(ProofError):
            return note, open_checkpoint(note, key.verifiers)
        return b"", None

    def _kept(self, log: str) -> Succession | None:
        """Which log this station follows. The operations CA signed it when it came."""
        data = _content(self._succession_path, MAX_SUCCESSION_BYTES)
        if not data:
            return None
        try:
            found = parse_succession(data, log)
            verify_receipt(found.receipt, found.entry, found.keys(self._pinned.verifiers))
        except ProofError as error:
            raise JournalError(f"{self._succession_path} is damaged: {error}. {_DAMAGED}") from error
        return found

    def _take(self, succession: Succession | None) -> None:
        """Goes by it. What was seen of the log before goes with sessions until there is something newer."""
        if succession is None or succession.number <= self._number:
            return
        self._number, self._succession = succession.number, succession
        self.key = _renamed(self._pinned, succession.origin)
        self.path = self._path_of(succession.origin)
        note, newest = self._read(self.key)
        if newest is not None:
            self._note = note
        self._newest = newest or self._newest

    @property
    def to_send(self) -> bytes:
        """The signed note; empty: none was seen."""
        return self._note if len(self._note) <= MAX_SENT_BYTES else b""

    @property
    def succession(self) -> Succession | None:
        """What this station follows; None: the log that it pins."""
        return self._succession

    async def follow(self, data: bytes) -> None:
        """Takes the succession that came with an answer, if it is newer. On the disk when this returns.
        Empty: signerd's log has none.

        A crash before leaves the log of before: signerd gives it again.

        Raises:
            BadSuccession: it does not hold, says less than this station saw, or is older than the one that
                it follows.
            JournalError: it cannot be written.
        """
        async with self._lock:
            log, _ = log_name(self._pinned.name)
            try:
                number = parse_succession(data, log).number if data else 1
                if number < self._number:
                    raise BadSuccession(_older(number, self._number, self.key.name), self._evidence())
                if number > self._number:
                    await self._follow(open_succession(data, self._pinned.verifiers, self._cas()), data)
                elif self._succession is not None:
                    await self._demand_same(data, log)
            except ProofError as error:
                raise BadSuccession(f"the log's successor: {error}", self._evidence()) from error

    def _evidence(self) -> str:
        """The files that say what this station saw and follows: those of its newest checkpoint, and of its
        succession."""
        seen = [] if self._newest is None else [self._path_of(self._newest.origin)]
        followed = [] if self._succession is None else [self._succession_path]
        return " and ".join(map(str, [*seen, *followed])) or "nothing: it saw no checkpoint yet"

    async def _follow(self, succession: Succession, data: bytes) -> None:
        if self._newest is not None:
            succession.demand_known(self._newest)
        if self._succession is not None:
            succession.demand_continues(self._succession)
        await self._write(self._succession_path, data)
        self._take(succession)
        _LOG.warning(
            "the log has a successor: %s; %d entries of the log before are lost",
            succession.origin,
            succession.lost,
        )

    async def _demand_same(self, data: bytes, log: str) -> None:
        """Of two of one number both are kept, once the second is verified: together they prove it."""
        if self._succession is None:
            return
        if parse_succession(data, log).statement() == self._succession.statement():
            return
        open_succession(data, self._pinned.verifiers, self._cas())
        rival = self._succession_path.with_name(f"{self._succession_path.name}.rival")
        await self._write(rival, data)
        detail = f"two successors of number {self._number} are signed"
        raise BadSuccession(detail, f"{self._succession_path} and {rival}")

    async def _write(self, path: Path, data: bytes) -> None:
        """A crash before it is whole leaves what was there. Raises JournalError."""
        try:
            await asyncio.to_thread(replace, path, data, 0o600)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}") from error

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
            checkpoint = open_checkpoint(note, self.key.verifiers)
        except ProofError:
            return
        async with self._lock:
            newest = self._newest
            if newest is not None and newest.origin != checkpoint.origin:  # of the log before
                newest = None
            if newest is not None and checkpoint.size == newest.size and checkpoint.root != newest.root:
                raise BadAnswer(f"two trees of {newest.size} entries are signed: keep {self.path}")
            if newest is not None and checkpoint.size <= newest.size:
                return
            await self._write(self.path, note)
            self._newest, self._note = checkpoint, note


def _digest(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()[:16]


def _renamed(key: LogKey, origin: str) -> LogKey:
    """The same keys, of a log of this name."""
    first, *beside = (
        LogKey(origin, changed(each, name=origin).key_id, each.public_key) for each in key.verifiers
    )
    return changed(first, beside=tuple(beside), cosigners=key.cosigners)


def _older(number: int, followed: int, name: str) -> str:
    said = "the log as it was opened" if number == 1 else f"successor {number}"
    return f"signerd has {said}, and this station follows {name}, number {followed}: an older log"


def _content(path: Path, most: int) -> bytes:
    """Empty where there is none, as where the state folder is no folder: the journal's check says that.
    Raises JournalError."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
