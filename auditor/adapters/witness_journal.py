"""What a witness tells its operator, bounded: whoever has one signed checkpoint can send it without end.

Guarantees that each cosignature over a larger tree is told, and of all else one event a minute for each log,
size class and verdict, with the number of those that were left out since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from birthmark.proof import VerifierKey
from birthmark.proof.note import parse_note, signature_line

EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: of a request that a log signed, or a start."""

    name: str
    origin: str
    size: int
    detail: str = ""
    note: str = ""  # the checkpoint that was not cosigned, with the log's own signatures
    left_out: int = 0  # events like it before, which were not told


Told = Callable[[Event], None]


@dataclass(slots=True)
class _Kind:
    said_at: float
    left_out: Event | None = None  # the last one, with their number


class WitnessJournal:
    """Of one witness. Used by one thread at a time. Of each log it keeps 64 size classes at most."""

    def __init__(self, told: Told, seconds: Callable[[], float] = time.monotonic) -> None:
        self._told = told
        self._seconds = seconds
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def new(self, event: Event) -> None:
        """Told in any case: of a tree that the witness had not cosigned."""
        self._told(event)

    def repeatable(self, event: Event) -> None:
        """Of what can be sent again and again."""
        now, key = self._seconds(), (event.origin, event.size.bit_length(), event.name)
        kind = self._kinds.get(key)
        left_out = 0 if kind is None or kind.left_out is None else kind.left_out.left_out
        if kind is None or now - kind.said_at >= EVERY_S:
            self._kinds[key] = _Kind(now)
            self._told(replace(event, left_out=left_out))
        else:
            kind.left_out = replace(event, left_out=left_out + 1)

    def rest(self) -> Iterator[Event]:
        """At the end: of each kind the last event that was left out, which counts all of them."""
        for kind in self._kinds.values():
            if kind.left_out is not None:
                yield kind.left_out
                kind.left_out = None


def signed_by(note: bytes, keys: Sequence[VerifierKey]) -> str:
    """The note with the signatures of these keys alone: the other lines are anybody's, and long."""
    read = parse_note(note)
    lines = [signature_line(key, line.value) for key in keys for line in read.lines if line.is_of(key)]
    return read.text + "\n" + b"".join(dict.fromkeys(lines)).decode()
