"""What a key holder's service remembers: administrators, approved orders, what it signed under each.

    notes = Notes.open(path)
    notes.start()
    await notes.do(lambda connection: add_order(connection, …))
    await notes.note(lambda connection: note_leaf(connection, …))

A SQLite file in its own directory, which nobody but its user can write. Each call is one unit of work,
undone whole if it raises. A crash before its commit leaves nothing, and nothing was signed; a crash after it
leaves a note of bytes that may not have been signed: the same bytes may be signed once more, and count once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import durable_files
from signerd.adapters.keyholder.service import tables
from signerd.adapters.keyholder.service.kept_approvals import KeptApprovals
from signerd.adapters.start_faults import from_system
from signerd.adapters.store.tables.database import make_engine, start_fault
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.savepoint import attempt
from signerd.adapters.store.tables.worker import Outcome, Unit, Worker
from signerd.core.approved_order import LeafRefusedError
from signerd.core.note import Checkpoint
from signerd.errors import ConfigError

T = TypeVar("T")
FORM: Final = 1
_about, _checkpoints, _successions = tables.about, tables.checkpoints, tables.successions
_VERSION = Prepared(text("PRAGMA data_version"))
_LAST = Prepared(select(_checkpoints))
_REMOVE_LAST = Prepared(_checkpoints.delete())
_ADD_LAST = Prepared(insert(_checkpoints), ("size", "root"))


@dataclass(frozen=True, slots=True)
class About:
    """Whose notes they are."""

    holder: str
    deployment: str
    log: str  # the log's verifier key


class Notes(Worker[Connection]):
    """The thread that reads and writes them. What it hands out is committed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("key-holder-notes", engine)
        self.approved = KeptApprovals()  # for units of work alone: it is this thread's
        self._version: int | None = None  # the file's, as this connection saw it

    async def do(self, unit: Callable[[Connection], T]) -> T:
        """Runs a unit of work that may change what was approved: nothing of that is kept behind it."""

        def changing(connection: Connection) -> T:
            try:
                return unit(connection)
            finally:
                self.approved.forget()

        return await self.note(changing)

    async def note(self, unit: Callable[[Connection], T]) -> T:
        """Runs a unit of work that notes what is to be signed, and changes nothing of what was approved."""
        return await super().do(unit)

    def run_batch(self, connection: Connection, units: Sequence[Unit[Connection]]) -> list[Outcome]:
        """One transaction for all units, a savepoint for each."""
        try:
            with connection.begin():
                self._look(connection)
                outcomes = [attempt(connection, unit, connection) for unit in units]
        except Exception:
            # One unit may have read what another wrote, and all of it is undone now.
            self.approved.forget()
            raise
        self.failing = None
        return outcomes

    def _look(self, connection: Connection) -> None:
        """Another process may have written: `signerd key-holder release`. From here on it cannot."""
        version = _VERSION.row(connection, {}).data_version
        if version != self._version:
            self.approved.forget()
            self._version = version

    @classmethod
    def open(cls, path: Path) -> Notes:
        """Raises ConfigError: they are not there. They are never made anew by themselves: whoever took them
        away would have all approvals count once more."""
        if not path.is_file():
            raise ConfigError(
                f"there are no notes {path} of what this key holder signed: is their disk mounted? If they"
                ' are lost: docs/key-holder.md, "The notes are lost"'
            )
        engine = make_engine(_url(path), "write")
        try:
            # Notes of before successors have no such table. A crash leaves it, empty, or not.
            _successions.create(engine, checkfirst=True)
        except SQLAlchemyError as error:
            engine.dispose()
            raise start_fault(f"cannot read the notes {path}", error) from error
        return cls(engine)


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def create_notes(path: Path, about: About) -> None:
    """Makes them, empty, of mode 0600. Raises ConfigError: there are some, or they cannot be written.

    A crash leaves a file without content, which `read_about` refuses; it is removed by hand.
    """
    try:
        durable_files.write_new(path, b"", 0o600)
    except FileExistsError as error:
        raise ConfigError(f"there are notes {path} already: nothing was changed") from error
    except OSError as error:
        raise from_system(f"cannot make the notes {path}: {error.strerror}", error) from error
    engine = make_engine(_url(path), "write")
    try:
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            row = {"form": FORM, "holder": about.holder, "deployment": about.deployment, "log": about.log}
            connection.execute(insert(_about), row)
    except SQLAlchemyError as error:
        raise start_fault(f"cannot make the notes {path}", error) from error
    finally:
        engine.dispose()


def read_about(connection: Connection) -> About:
    """Raises ConfigError where the notes are of another form."""
    try:
        row = connection.execute(select(_about)).one_or_none()
    except SQLAlchemyError as error:
        raise start_fault("cannot read the key holder's notes", error) from error
    if row is None or row.form != FORM:
        raise ConfigError("the key holder's notes are of a form that this program does not know")
    return About(row.holder, row.deployment, row.log)


def note_checkpoint(connection: Connection, checkpoint: Checkpoint, number: int) -> None:
    """`number`: which one of the log's successors it is of, 1 where it has none.

    Raises LeafRefusedError: the log is smaller than the last one, or another of the same size, or it has a
    successor by now.
    """
    noted = connection.execute(select(_successions.c.number)).scalar_one_or_none() or 1
    if number < noted:
        raise LeafRefusedError(
            f"a checkpoint of log {number}, after one of successor {noted}: the log was put back"
        )
    if number > noted:
        connection.execute(_successions.delete())
        connection.execute(insert(_successions), {"number": number})
        _REMOVE_LAST.run(connection, {})
    last = _LAST.row(connection, {})
    if last is not None and (checkpoint.size, checkpoint.root) == (last.size, last.root):
        return
    if last is not None and checkpoint.size <= last.size:
        raise LeafRefusedError(
            f"a checkpoint of {checkpoint.size} entries, after one of {last.size}: the log was put back"
        )
    _REMOVE_LAST.run(connection, {})
    _ADD_LAST.run(connection, {"size": checkpoint.size, "root": checkpoint.root})


def last_checkpoint(connection: Connection) -> tuple[int, bytes] | None:
    """Size and root of the log, as it was signed last."""
    row = connection.execute(select(_checkpoints)).one_or_none()
    return None if row is None else (row.size, row.root)
