"""Successors of a log: after a real loss the entries that are left go on under another name.

A log of N entries was published, and a database of fewer is all that is left. Under its old name the log
would show two histories. So an entry `log_succeeded` announces that from there on checkpoints are signed
under another origin, and names the last checkpoint that anybody kept of each log before:

    log.example/line                  signed until N, of which the entries 0…R-1 are left
    log.example/line/successor-2      the same entries 0…R-1, then `log_succeeded`, then new ones

The operations CA signs the statement in that entry, and the log's key the first checkpoint over it: neither
key alone makes a successor. Who follows needs the newest statement alone, since it names all logs before.
What somebody saw of a log before is either in the successor, or among what the statement says is lost:

    at or below `continued`           the successor's tree has the same root at that size
    beyond it, up to `size`           lost, and said so
    beyond `size`                     more was lost than was said: nobody follows

The highest number counts. Keys keep the name of the first log in settings, pins and secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from signerd.core.merkle import HASH_SIZE

MAX_NUMBER = 99  # a log's name grows by as many digits, and a statement by as many members
MAX_ORIGIN = 128  # characters, of docs/formats.md
_LABEL = b"birthmark-succession-v1\n"
_SUFFIX = "/successor-"
_MAX_SIZE = 2**53  # RFC 8785 §3.2.2.3


class SuccessionError(ValueError):
    """A statement that does not hold together, or that says less than is known. The text says which."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A log before: the last checkpoint that is known of it, and how many of its entries went on."""

    number: int  # 1: the log as it was opened
    size: int
    root: bytes
    continued: int  # its first entries, as many, are the successor's too

    def members(self) -> dict[str, Any]:
        """As entry and statement have it."""
        return {
            "number": self.number,
            "size": self.size,
            "root": self.root.hex(),
            "continued": self.continued,
        }


@dataclass(frozen=True, slots=True)
class Succession:
    """What one `log_succeeded` entry says."""

    index: int  # of the entry
    number: int
    continued: int  # entries that the database had
    root: bytes  # of their tree
    predecessors: tuple[Predecessor, ...]  # 1 to number - 1

    def predecessor(self, number: int) -> Predecessor:
        """The log of this number, below the successor's."""
        return self.predecessors[number - 1]

    @property
    def lost(self) -> int:
        """How many entries of the log before are known to be lost."""
        last = self.predecessors[-1]
        return last.size - last.continued


def origin_of(log: str, number: int) -> str:
    """The name of the log's successor of this number; 1 is the log itself."""
    return log if number == 1 else f"{log}{_SUFFIX}{number}"


def number_of(origin: str, log: str) -> int | None:
    """Which one of the log's successors bears this name; None: none does."""
    if origin == log:
        return 1
    name, separator, digits = origin.rpartition(_SUFFIX)
    if name != log or not separator or not digits.isascii() or not digits.isdecimal() or len(digits) > 2:
        return None
    number = int(digits)
    return number if number >= 2 and origin == origin_of(log, number) else None


def is_successor_s(origin: str) -> bool:
    """Whether this is the name of a successor of some log: no log is opened under one."""
    log, separator, _ = origin.rpartition(_SUFFIX)
    return bool(separator) and (number_of(origin, log) or 0) > 1


def statement(
    log: str, number: int, continued: int, root: bytes, predecessors: Sequence[Predecessor]
) -> bytes:
    """What the operations CA signs, ECDSA with SHA-256. `log`: the name of the log as it was opened."""
    said = {
        "log": log,
        "number": number,
        "continued": continued,
        "root": root.hex(),
        "predecessors": [each.members() for each in predecessors],
    }
    return _LABEL + rfc8785.dumps(said)  # type: ignore[arg-type]  # its type for JSON is private


def read_succession(index: int, members: Mapping[str, Any]) -> Succession:
    """What a `log_succeeded` entry says. Signatures are for followers. Raises SuccessionError."""
    try:
        found = Succession(
            index,
            _integer(members["number"], least=2, most=MAX_NUMBER),
            _integer(members["continued"]),
            _hash(members["root"]),
            tuple(map(_predecessor, members["predecessors"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SuccessionError(f"a log_succeeded entry of another form: {error}") from error
    if [each.number for each in found.predecessors] != list(range(1, found.number)):
        raise SuccessionError("it does not name each log before, in their order")
    for each in found.predecessors:
        if not each.continued <= min(each.size, found.continued):
            raise SuccessionError(f"of log {each.number} more entries go on than there are")
    # An approval is an entry before it.
    if index - found.continued not in (0, 1):
        raise SuccessionError(f"it goes on from {found.continued} entries, and is entry {index}")
    return found


def _predecessor(members: Mapping[str, Any]) -> Predecessor:
    return Predecessor(
        _integer(members["number"], least=1, most=MAX_NUMBER),
        _integer(members["size"]),
        _hash(members["root"]),
        _integer(members["continued"]),
    )


def _integer(value: object, least: int = 0, most: int = _MAX_SIZE) -> int:
    if type(value) is not int or not least <= value <= most:
        raise SuccessionError(f"{value!r:.40} is not {least} to {most}")
    return value


def _hash(value: object) -> bytes:
    found = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(found) != HASH_SIZE or found.hex() != value:
        raise SuccessionError("a root is 64 hexadecimal digits, in small letters")
    return found


def succession_file(entry: bytes, receipt: bytes) -> bytes:
    """What followers are given: the entry in a line, then its receipt."""
    return entry + b"\n" + receipt


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint of one of the logs that somebody kept, by the log's number; its signature was verified."""

    number: int
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """The log that is left: the database's."""

    size: int
    root_of: Callable[[int], bytes]
    successions: tuple[Succession, ...]  # those that its entries have

    @property
    def number(self) -> int:
        """Which one of the log's successors it is."""
        return self.successions[-1].number if self.successions else 1


def next_predecessors(left: Left, known: Iterable[Known], lost: Succession | None) -> tuple[Predecessor, ...]:
    """What the next statement says of each log before.

    Args:
        left: what goes on.
        known: checkpoints that anybody kept, of any of the logs.
        lost: the newest succession that was signed, where the entry of it may be lost.

    Raises:
        SuccessionError: nothing is lost, what is left is another history, or too little is known.
    """
    found = _newest([*known, *_named(left.successions[-1:]), *_named([] if lost is None else [lost])])
    last = max((left.number, *found, 0 if lost is None else lost.number))
    if last >= MAX_NUMBER:
        raise SuccessionError(f"a log has at most {MAX_NUMBER} successors")
    if last > left.number and (lost is None or lost.number < last):
        raise SuccessionError(
            f"somebody kept a checkpoint of successor {last}, whose succession is not here: a station has it"
            " in its state folder. Put it beside the second place, as `checkpoint.succession`"
        )
    own = Known(left.number, left.size, left.root_of(left.size))
    predecessors = tuple(_said(number, left, found, own, lost) for number in range(1, last + 1))
    if last == left.number and not _is_lost(left, predecessors):
        raise SuccessionError(
            "nothing is lost: the database has all that the second place and the given checkpoints have."
            " Start signerd"
        )
    return predecessors


def _named(successions: Sequence[Succession]) -> list[Known]:
    return [Known(each.number, each.size, each.root) for said in successions for each in said.predecessors]


def _newest(known: Iterable[Known]) -> dict[int, Known]:
    found: dict[int, Known] = {}
    for each in known:
        before = found.get(each.number)
        if before is not None and before.size == each.size and before.root != each.root:
            raise SuccessionError(
                f"two trees of {each.size} entries were signed for log {each.number}: keep both checkpoints,"
                " they prove it. A statement names one: take the other away"
            )
        if before is None or before.size < each.size:
            found[each.number] = each
    return found


def _said(
    number: int, left: Left, found: Mapping[int, Known], own: Known, lost: Succession | None
) -> Predecessor:
    known = found.get(number)
    if number < left.number:
        continued = min(left.successions[-1].predecessor(number).continued, left.size)
    elif number == left.number or lost is None:
        continued = left.size
        known = own if known is None or known.size < own.size else known
    else:  # of successors that the database knows nothing of: what is sure
        continued = min(left.size, lost.continued, *(each.continued for each in lost.predecessors))
    if known is None:
        raise SuccessionError(f"nobody's checkpoint of log {number} is here: give it with --checkpoint")
    if known.size <= continued and known.root != left.root_of(known.size):
        raise SuccessionError(
            f"the database has another root at {known.size} entries than was signed: two histories. Restore a"
            " backup of before they parted"
        )
    if known.size < continued:
        known = Known(number, continued, left.root_of(continued))
    return Predecessor(number, known.size, known.root, continued)


def _is_lost(left: Left, predecessors: Sequence[Predecessor]) -> bool:
    """Whether they say more than the database and its own last statement."""
    if predecessors[-1].size > predecessors[-1].continued:
        return True
    before = left.successions[-1].predecessors if left.successions else ()
    return any(now.size > then.size for now, then in zip(predecessors, before, strict=False))
