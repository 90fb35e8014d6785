"""A kept state that is only read, as of one moment.

    with Reading.open(directory) as reading:
        reading.as_of()
        reading.db.execute(…)

It takes no lock that keeps a run from writing, and is not disturbed by one: all answers are those of the
last transaction that had ended when it was opened. The marks are not read, so opening takes milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from auditor.adapters.schema import VERSION
from auditor.adapters.state import FILE
from auditor.adapters.words import Words
from auditor.core.forms import time_text
from auditor.core.questions.kinds import Kinds
from auditor.errors import ConfigError, NotFound
from auditor.ports import Stage

Rows = Generator[dict[str, Any], None, None]
"""An answer, row by row. Whoever does not take all of it closes it before the state."""
_CACHED = 4_096  # kinds of certificates that were looked at
_AGAIN = "run `birthmark-auditor verify`, which brings it up to date"


@dataclass(frozen=True, slots=True)
class AsOf:
    """What an answer rests on: all entries below `entries`, and none from there on."""

    entries: int
    checkpoint: int  # size of the signed tree; larger than `entries` where the run was broken off
    root: str  # of the checkpoint, hexadecimal
    newest_entry_at: str | None
    verified_at: str | None  # when the last run came to its end; None: it has not
    whole: bool  # the last run looked at all there was to look at
    findings: int  # that stand without an acknowledgement
    successor: int = 1  # which one of the log's successors it is; 1: the log as it was opened

    @property
    def text(self) -> str:
        """In one line."""
        end = "" if self.whole else ", and the last run was broken off: run `verify` again"
        found = f"; {self.findings} findings stand: see `findings`" if self.findings else ""
        when = f"verified {self.verified_at}" if self.verified_at else "not verified to the end yet"
        lost = ""
        if self.successor > 1:
            lost = (
                f"; the log lost its end and is successor {self.successor}: boards of lost entries are in no"
                " answer"
            )
        newest = f", the newest of {self.newest_entry_at}" if self.newest_entry_at else ""
        return f"as of the first {self.entries} entries of the ledger{newest}, {when}{end}{found}{lost}"


class Reading:
    """See the module. `newest_at`: time of the newest entry. `looked_at`: when the last run ended, or else
    the same. Both are seconds since 1970, known once `as_of` was asked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.db = connection
        self.words = Words(connection)
        self.looked_at = 0
        self.newest_at = 0
        self._chosen: dict[int, bool] = {}

    @classmethod
    @contextmanager
    def open(cls, directory: Path) -> Iterator[Self]:
        """Opens the state.

        Raises:
            ConfigError: there is none, it is of another version, or it cannot be read.
            NotFound: nothing was verified yet.
        """
        path = directory / FILE
        if not path.exists():
            raise NotFound(f"nothing was verified yet: there is no {path}. Run `birthmark-auditor verify`")
        try:
            address = f"{path.resolve().as_uri()}?mode=rw"  # never one that is made
            connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=10)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot read the state in {directory}: {error}") from error
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -16384")  # KiB
            connection.execute("BEGIN")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise ConfigError(
                    f"the state is of version {version}, and this auditor asks version {VERSION}: {_AGAIN}"
                )
            yield cls(connection)
        except sqlite3.Error as error:
            raise ConfigError(
                f"cannot read the state in {directory}: {error}. If it stays so, move it away and verify anew"
            ) from error
        finally:
            connection.close()

    def as_of(self) -> AsOf:
        """See `AsOf`. Raises NotFound: nothing was verified yet. ConfigError: the state is damaged."""
        meta = dict(self.db.execute("SELECT key, value FROM meta"))
        if "checkpoint" not in meta:
            raise NotFound("nothing was verified yet: run `birthmark-auditor verify`")
        try:
            return self._as_of(meta)
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise ConfigError(
                f"the state is damaged ({error!r:.80}): move it away and verify anew"
            ) from error

    def _as_of(self, meta: Mapping[str, bytes]) -> AsOf:
        head, checkpoint = json.loads(meta["head"]), json.loads(meta["checkpoint"])
        newest = json.loads(meta["totals"])["last_time"] if "totals" in meta else None
        looked = int(meta["looked_at"]) if "looked_at" in meta else None
        self.newest_at = newest or 0
        self.looked_at = looked or self.newest_at
        query = "SELECT count(*) FROM findings WHERE id NOT IN (SELECT finding FROM acknowledgements)"
        (standing,) = self.db.execute(query).fetchone()
        whole = head["stage"] == Stage.WHOLE.value
        newest_at, looked_at = (None if at is None else moment_text(at) for at in (newest, looked))
        succeeded = "SELECT data FROM entries WHERE kind = 'log_succeeded' ORDER BY idx DESC LIMIT 1"
        last = self.db.execute(succeeded).fetchone()
        successor = 1 if last is None else int(json.loads(last[0])["number"])
        return AsOf(
            head["size"],
            checkpoint["size"],
            checkpoint["root"],
            newest_at,
            looked_at,
            whole,
            standing,
            successor,
        )

    def order(self, name: str) -> int:
        """The word of a work order. Raises NotFound: the verified ledger has none of this name."""
        known = self.db.execute("SELECT 1 FROM orders WHERE work_order = ?", (name,)).fetchone()
        if known is None:
            raise NotFound(f"the verified ledger has no work order {name}; `verify` reads what is new")
        return self.words.known(name)

    def station(self, uri: str) -> int:
        """The word of a station. Raises NotFound: the verified ledger never registered it."""
        known = self.db.execute("SELECT 1 FROM peers WHERE uri = ?", (uri,)).fetchone()
        if known is None:
            raise NotFound(f"the verified ledger has no station {uri}; `verify` reads what is new")
        return self.words.known(uri)

    def chosen(self, kinds: Kinds, number: int) -> bool:
        """True if certificates of the kind of this number are meant. One `Kinds` a reading."""
        if kinds.all:
            return True
        found = self._chosen.get(number)
        if found is None:
            if len(self._chosen) >= _CACHED:
                self._chosen.clear()
            found = self._chosen[number] = kinds.hold(self.words.value(number))
        return found

    def name(self, number: int) -> str | None:
        """The text of a word; None where the entry named none."""
        return None if number == 0 else self.words.word(number)

    def rows(self, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """One by one: as many as there are, and no more than some of them in memory."""
        yield from self.db.execute(query, tuple(values))


def moment_text(seconds: int) -> str:
    """As it stands in entries."""
    return time_text(datetime.fromtimestamp(seconds, UTC))
