"""What must be unique in a log, kept compactly: a mark of 40 bits for each value, and the entry that has it.

    marks = Marks(directory, secret)
    marks.add(Kind.KEY, spki_sha256, index)
    marks.find(Kind.KEY, spki_sha256)           # indexes of entries that may have it

A mark is keyed: whoever writes the log does not know the secret, and cannot make two values that share a
mark. Two may by chance, some 55 pairs among a million boards. So a mark that is found is a question and not
an answer: the caller reads the entry and compares (`SqliteBooks`). A value whose mark is not found is in no
entry.

Marks lie in runs: files of sorted 64-bit cells, 40 bits of mark over 32 bits of index less the 8 bits that
choose the file's part. What came last is in memory and, with each commit, in the state's database; from
`FLUSH` cells on it becomes a run. Runs of like size are merged. A run is written once, is durable before the
database names it, and is never changed: a crash leaves a file that nothing names, which the next writer
removes.
"""

from __future__ import annotations

import mmap
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Final

from auditor.errors import ConfigError

FLUSH = 1 << 19  # cells, 4 MiB: kept in memory before they become a run
MAX_INDEX = (1 << 32) - 1  # of an entry
_GROWTH = 4  # a run is merged with the one before it, unless that is so many times larger
_ASKED = 64  # values that are looked for and then added, of one entry
_PARTS = 256  # a merge holds so small a part of both runs in memory
_TYPE: Final = "Q"
_SMALL: Final = "I"  # 32 bits on every platform that Python runs on
_MARK_BITS, _INDEX_BITS = 32, 32  # of a cell; the part says 8 more bits of the mark


class RunMissing(ConfigError):  # noqa: N818 (what is off)
    """A run is not there, or not whole."""


class Kind(Enum):
    """What a value is."""

    ENTRY = b"entry id"
    CERTIFICATE = b"certificate"
    SERIAL = b"serial"
    KEY = b"key"
    CHALLENGE = b"challenge"
    PLACE = b"place"
    CHIP_ID = b"chip id"
    SERIAL_NUMBER = b"serial number"
    CHIP = b"chip"
    ANCHOR = b"anchor"
    ATTESTER = b"attester"
    RUN = b"run of signerd"


class Marks:
    """See the module. Not durable by itself: the state's transaction takes what `unsaved` and `runs` say."""

    def __init__(self, directory: Path | None, secret: bytes) -> None:
        """`directory`: of the runs; None: there are none, and everything stays in memory."""
        self._directory = directory
        self._known: dict[tuple[Kind, bytes], int] = {}  # marks of the entry that is just being entered
        self._keyed = {kind: blake2b(key=secret, person=kind.value, digest_size=5) for kind in Kind}
        self._recent: dict[int, int | list[int]] = {}  # mark -> indexes
        self._count = 0  # of cells in it
        self._unsaved = array(_TYPE)  # of them, mark and index by turns: for the next commit
        self._runs: list[_Run] = []

    def load(self, runs: Sequence[str], recent: Sequence[bytes]) -> None:
        """Takes what a transaction says; forgets all else, but removes no file: a run that is named nowhere
        may be of a transaction that another process is just making.

        Raises:
            RunMissing: a run is missing or cut.
        """
        self.close()
        self._recent, self._count, self._unsaved = {}, 0, array(_TYPE)
        if self._directory is not None:
            self._load_runs(self._directory, runs)
        for blob in recent:
            for mark, index in _unpacked(blob):
                self._put(mark, index)

    def _load_runs(self, directory: Path, runs: Sequence[str]) -> None:
        try:
            directory.mkdir(exist_ok=True)
            for name in runs:
                self._runs.append(_Run(directory / name))
        except (OSError, ValueError) as error:
            raise RunMissing(
                f"the state lacks {error}: restore its directory as a whole, or verify anew in another one"
            ) from error

    def sweep(self, named: Sequence[str]) -> None:
        """Removes what a crash left: all runs but those that the database names. Only for whoever holds the
        database's write lock, for nobody else makes runs then."""
        if self._directory is not None:
            self.remove([stray.name for stray in self._directory.iterdir() if stray.name not in named])

    def names(self) -> list[str]:
        """Of the runs."""
        return [run.path.name for run in self._runs]

    def close(self) -> None:
        """Lets go of the files."""
        for run in self._runs:
            run.close()
        self._runs = []

    def add(self, kind: Kind, value: bytes, index: int) -> None:
        """The entry of this index has this value. Raises ConfigError beyond 2^32 entries."""
        if index > MAX_INDEX:
            raise ConfigError(f"this auditor keeps ledgers of at most {MAX_INDEX} entries")
        mark = self._mark(kind, value)
        self._put(mark, index)
        self._unsaved.append(mark)
        self._unsaved.append(index)

    def find(self, kind: Kind, value: bytes) -> list[int]:
        """Indexes of entries that may have this value, ascending."""
        mark = self._mark(kind, value)
        found: list[int] = []
        for run in self._runs:
            found += run.find(mark)
        recent = self._recent.get(mark)
        if recent is not None:
            found += recent if isinstance(recent, list) else [recent]
        return sorted(set(found)) if len(found) > 1 else found

    def unsaved(self) -> bytes:
        """What was added since the last commit, for the database: 9 bytes each."""
        added, self._unsaved = self._unsaved, array(_TYPE)
        return _packed(added[::2], added[1::2])

    def flush(self) -> tuple[list[str], list[str]] | None:
        """Makes a run of what came last, if it is time, and merges. Returns the runs' names from now on and
        those of before; None: it is not time. A crash before the database takes them leaves the runs of
        before as they were, and what came last in the database."""
        directory = self._directory
        if directory is None or self._count < FLUSH:
            return None
        before = [run.path.name for run in self._runs]
        runs = [*self._runs, _written(directory, self._sorted_recent())]
        while len(runs) > 1 and runs[-2].size < _GROWTH * runs[-1].size:
            last, last_but_one = runs.pop(), runs.pop()
            runs.append(_written(directory, _merged(last_but_one, last)))
            for run in (last, last_but_one):
                if run not in self._runs:
                    run.discard()
        for run in self._runs:
            if run not in runs:
                run.close()
        self._runs, self._recent, self._count = runs, {}, 0
        return [run.path.name for run in runs], before

    def remove(self, names: Sequence[str]) -> None:
        """Removes runs that no database names any more."""
        kept = {run.path.name for run in self._runs}
        for name in set(names) - kept:
            with suppress(OSError):  # open elsewhere, on Windows: the next writer removes it
                if self._directory is not None:
                    (self._directory / name).unlink()

    def _mark(self, kind: Kind, value: bytes) -> int:
        mark = self._known.get((kind, value))
        if mark is None:
            if len(self._known) >= _ASKED:
                self._known.clear()
            keyed = self._keyed[kind].copy()
            keyed.update(value)
            mark = self._known[kind, value] = int.from_bytes(keyed.digest(), "big")
        return mark

    def _put(self, mark: int, index: int) -> None:
        known = self._recent.get(mark)
        if known is None:
            self._recent[mark] = index
        elif isinstance(known, list):
            known.append(index)
        else:
            self._recent[mark] = [known, index]
        self._count += 1

    def _sorted_recent(self) -> Iterator[tuple[int, array[int]]]:
        parts: list[list[int]] = [[] for _ in range(_PARTS)]
        low = (1 << _MARK_BITS) - 1
        for mark, known in self._recent.items():
            for index in known if isinstance(known, list) else (known,):
                parts[mark >> _MARK_BITS].append((mark & low) << _INDEX_BITS | index)
        for number, part in enumerate(parts):
            part.sort()
            yield number, array(_TYPE, part)


class _Run:
    """One file: where each part begins, then the cells of all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        head = array(_TYPE, self._map[: 8 * (_PARTS + 1)].ljust(8 * (_PARTS + 1), b"\0"))
        if sys.byteorder == "big":
            head.byteswap()
        self._starts = head.tolist()
        self.size = self._starts[-1]
        if self._starts != sorted(self._starts) or len(self._map) != 8 * (_PARTS + 1 + self.size):
            self._map.close()
            raise ValueError(f"the whole of {path}")
        self._whole = memoryview(self._map)
        self._cells = self._whole[8 * (_PARTS + 1) :].cast(_TYPE)

    def find(self, mark: int) -> list[int]:
        """Indexes under this mark."""
        part, low = mark >> _MARK_BITS, mark & ((1 << _MARK_BITS) - 1)
        begin, end = self._starts[part], self._starts[part + 1]
        cells = self._cells
        at = bisect_left(cells, low << _INDEX_BITS, begin, end)
        found = []
        while at < end and cells[at] >> _INDEX_BITS == low:
            found.append(cells[at] & MAX_INDEX)
            at += 1
        return found

    def part(self, number: int) -> array[int]:
        """The cells of one part."""
        return array(_TYPE, self._cells[self._starts[number] : self._starts[number + 1]].tobytes())

    def close(self) -> None:
        """Lets go of the file."""
        self._cells.release()
        self._whole.release()
        self._map.close()

    def discard(self) -> None:
        """Removes it: it was of use only on the way to a larger one."""
        self.close()
        with suppress(OSError):  # the next writer removes it
            self.path.unlink()


def _merged(first: _Run, second: _Run) -> Iterator[tuple[int, array[int]]]:
    for number in range(_PARTS):
        cells = [*first.part(number), *second.part(number)]
        cells.sort()  # two sorted runs: one pass
        yield number, array(_TYPE, cells)


def _packed(marks: array[int], indexes: array[int]) -> bytes:
    """All indexes, the low 32 bits of all marks, then the high 8 bits of all."""
    low = (1 << _MARK_BITS) - 1
    numbers = array(_SMALL, [*indexes, *[mark & low for mark in marks]])
    return _little(numbers) + bytes([mark >> _MARK_BITS for mark in marks])


def _unpacked(data: bytes) -> Iterator[tuple[int, int]]:
    """Mark and index of each. Raises ValueError: the bytes are no such list."""
    count, rest = divmod(len(data), 9)
    if rest:
        raise ValueError("marks that are cut")
    numbers = array(_SMALL, data[: 8 * count])
    if sys.byteorder == "big":
        numbers.byteswap()
    for index, low, high in zip(numbers[:count], numbers[count:], data[8 * count :], strict=True):
        yield high << _MARK_BITS | low, index


def _little(cells: array[int]) -> bytes:
    if sys.byteorder == "big":
        cells = array(cells.typecode, cells)
        cells.byteswap()
    return cells.tobytes()


def _written(directory: Path, parts: Iterator[tuple[int, array[int]]]) -> _Run:
    path = directory / f"run-{os.urandom(8).hex()}"
    try:
        with path.open("xb") as file:
            starts = array(_TYPE, bytes(8 * (_PARTS + 1)))
            file.write(starts.tobytes())
            for number, cells in parts:
                starts[number + 1] = starts[number] + len(cells)
                file.write(_little(cells))
            file.seek(0)
            file.write(_little(starts))
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix":
            opened = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
        return _Run(path)
    except OSError as error:
        raise ConfigError(f"the state cannot be written: {error}. See that its disk has room") from error
