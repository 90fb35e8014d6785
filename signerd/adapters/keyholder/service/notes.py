"""What a key holder's service remembers: administrators, approved orders, what it signed under each.

    notes = Notes.open(path)
    notes.start()
    await notes.do(lambda connection: note_leaf(connection, …))

A SQLite file in its own directory, which nobody but its user can write. Each function is one unit of work,
undone whole if it raises. A crash before its commit leaves nothing, and nothing was signed; a crash after it
leaves a note of bytes that may not have been signed: the same bytes may be signed once more, and count once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system
from signerd.adapters.store.constraints import translated
from signerd.adapters.store.database import make_engine, start_fault
from signerd.adapters.store.worker import Outcome, Unit, Worker
from signerd.core.approval.administrators import NOBODY, AdministratorSet, read_members
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import Statement
from signerd.core.approved_order import ApprovedOrder, LeafRefusedError, ShareUsedError
from signerd.core.leaf import Leaf
from signerd.core.names import Reissue
from signerd.core.note import Checkpoint
from signerd.errors import ConfigError, Fault

FORM: Final = 1
_tables = MetaData()
_about = Table(
    "about",
    _tables,
    Column("form", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("log", Text, nullable=False),
)
_administrators = Table(
    "administrators",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("threshold", Integer, nullable=False),
    Column("members", Text, nullable=False),
)
_uses = Table(
    "uses",
    _tables,
    Column("request", LargeBinary, primary_key=True),
    Column("action", Text, nullable=False),
    Column("statement_sha256", LargeBinary, nullable=False),
)
_orders = Table(
    "orders",
    _tables,
    Column("work_order", Text, primary_key=True),
    Column("members", Text, nullable=False),
    Column("closed", Boolean, nullable=False),
)
_products = Table(
    "products",
    _tables,
    Column("sha256", LargeBinary, primary_key=True),
    Column("text", Text, nullable=False),
)
leaves = Table(
    "leaves",
    _tables,
    Column("tbs_sha256", LargeBinary, primary_key=True),
    Column("work_order", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("issuer_sha256", LargeBinary, nullable=False),
    Column("product", Text, nullable=False),
    Column("chip_id", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("certificate_serial", Text, nullable=False),  # hexadecimal
)
# RFC 5280 §4.1.2.2: unique for each issuer, or who revokes one revokes another board's too.
Index("one_certificate_a_serial", leaves.c.issuer_sha256, leaves.c.certificate_serial, unique=True)
Index("leaves_of_place", leaves.c.work_order, leaves.c.name, leaves.c.number)
Index("leaves_of_serial", leaves.c.serial_number)
counts = Table(
    "counts",
    _tables,
    Column("work_order", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("places", Integer, nullable=False),
)
_given = Table(
    "given",
    _tables,
    Column("work_order", Text, primary_key=True),
    Column("places", Integer, nullable=False),  # that came from others, less those that went to them
)
_active = Table(
    "active",
    _tables,
    Column("ca", Text, primary_key=True),
    Column("certificate_sha256", LargeBinary, nullable=False),
)
_checkpoints = Table(
    "checkpoints",
    _tables,
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class About:
    """Whose notes they are."""

    holder: str
    deployment: str
    log: str  # the log's verifier key


class Notes(Worker[Connection]):
    """The thread that reads and writes them. What it hands out is committed."""

    def run_batch(self, connection: Connection, units: Sequence[Unit[Connection]]) -> list[Outcome]:
        """One transaction for all units, a savepoint for each."""
        try:
            with connection.begin():
                outcomes = [_attempt(connection, unit) for unit in units]
        except SQLAlchemyError as error:
            return self._failed(translated(error), len(units))
        self.failing = None
        return outcomes

    @classmethod
    def open(cls, path: Path) -> Notes:
        """Raises ConfigError: they are not there. They are never made anew by themselves: whoever took them
        away would have all approvals count once more."""
        if not path.is_file():
            raise ConfigError(
                f"there are no notes {path} of what this key holder signed: is their disk mounted? If they"
                ' are lost: docs/key-holder.md, "The notes are lost"'
            )
        return cls("key-holder-notes", make_engine(_url(path), "write"))


def _attempt(connection: Connection, unit: Unit[Connection]) -> Outcome:
    connection.execute(text("SAVEPOINT unit"))
    try:
        value = unit(connection)
    except Exception as error:  # noqa: BLE001 -- belongs to the caller, who waits in another thread
        connection.execute(text("ROLLBACK TO unit"))
        connection.execute(text("RELEASE unit"))
        return None, translated(error) if isinstance(error, SQLAlchemyError) else error
    connection.execute(text("RELEASE unit"))
    return value, None


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
            _tables.create_all(connection)
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


def in_force(connection: Connection) -> AdministratorSet:
    """Whose approvals count now."""
    newest = select(_administrators).order_by(_administrators.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None:
        return NOBODY
    try:
        return read_members(row.threshold, json.loads(row.members))
    except (ApprovalError, ValueError) as error:
        raise Fault(f"the administrators in the key holder's notes are damaged: {error}") from error


def set_administrators(connection: Connection, administrators: AdministratorSet) -> None:
    """From here on they approve."""
    row = {"threshold": administrators.threshold, "members": json.dumps(administrators.members)}
    connection.execute(insert(_administrators), row)


def was_used(connection: Connection, statement: Statement, text: bytes) -> bool:
    """Whether an approval was taken in before. Raises ApprovalError: another one of its number was."""
    asked = select(_uses.c.statement_sha256).where(_uses.c.request == statement.request)
    used = connection.scalars(asked).one_or_none()
    if used is not None and used != hashlib.sha256(text).digest():
        raise ApprovalError("another approval with this number was taken in: prepare a new request")
    return used is not None


def note_use(connection: Connection, statement: Statement, text: bytes) -> None:
    """It counts from here on, and once."""
    row = {"request": statement.request, "action": statement.action}
    connection.execute(insert(_uses), {**row, "statement_sha256": hashlib.sha256(text).digest()})


def add_order(connection: Connection, members: dict[str, Any]) -> ApprovedOrder:
    """An order that was approved. Another one of its name takes the place of the one before as long as
    nothing was signed for that, and it was not closed. Raises LeafRefusedError, ValueError."""
    order = ApprovedOrder.of(members)
    asked = select(_orders.c.closed).where(_orders.c.work_order == order.work_order)
    if connection.scalars(asked).one_or_none():
        raise LeafRefusedError(f"the order {order.work_order} was closed")
    if order.work_order in _with_leaves(connection, order.work_order):
        raise LeafRefusedError(f"certificates were signed for another order {order.work_order} already")
    connection.execute(_orders.delete().where(_orders.c.work_order == order.work_order))
    row = {"work_order": order.work_order, "members": json.dumps(members), "closed": False}
    connection.execute(insert(_orders), row)
    return order


def _with_leaves(connection: Connection, work_order: str) -> list[str]:
    return list(
        connection.scalars(select(counts.c.work_order).where(counts.c.work_order == work_order).limit(1))
    )


def find_order(connection: Connection, work_order: str) -> ApprovedOrder:
    """Raises LeafRefusedError: nobody approved it, or it was closed."""
    row = connection.execute(select(_orders).where(_orders.c.work_order == work_order)).one_or_none()
    if row is None:
        raise LeafRefusedError(f"no order {work_order[:64]!r} was approved")
    if row.closed:
        raise LeafRefusedError(f"the order {work_order} was closed")
    return ApprovedOrder.of(json.loads(row.members))


def share_in(connection: Connection, order: ApprovedOrder) -> int:
    """How many places of it this key holder may certify, in all."""
    asked = select(_given.c.places).where(_given.c.work_order == order.work_order)
    own = order.share_of(read_about(connection).holder)
    return own + (connection.scalars(asked).one_or_none() or 0)


def take_share(connection: Connection, work_order: str, places: int) -> None:
    """That many more, as administrators approved."""
    asked = select(_given.c.places).where(_given.c.work_order == work_order)
    given = connection.scalars(asked).one_or_none() or 0
    connection.execute(_given.delete().where(_given.c.work_order == work_order))
    connection.execute(insert(_given), {"work_order": work_order, "places": given + places})


def release_share(connection: Connection, work_order: str, places: int) -> int:
    """That many less, for another key holder; how many are left, certified ones among them.

    Raises:
        LeafRefusedError: no such order is open here, or fewer are left.
    """
    order = find_order(connection, work_order)
    share = share_in(connection, order)
    free = share - _places(connection, work_order)
    if places > free:
        raise LeafRefusedError(f"{free} places of {work_order} are left to this key holder")
    take_share(connection, work_order, -places)
    return share - places


def _places(connection: Connection, work_order: str) -> int:
    """Those that were certified, of whatever certificate's name has the most."""
    asked = select(func.max(counts.c.places)).where(counts.c.work_order == work_order)
    return connection.scalars(asked).one() or 0


def close_order(connection: Connection, work_order: str) -> None:
    """Nothing more is signed for it. Whoever says so needs no approval; nobody can take it back."""
    connection.execute(update(_orders).where(_orders.c.work_order == work_order).values(closed=True))


def add_product(connection: Connection, product_toml: str) -> None:
    """Keeps a product's revision that an approved order names. Raises LeafRefusedError where none does."""
    digest = hashlib.sha256(product_toml.encode()).digest()
    open_ones = select(_orders.c.members).where(_orders.c.closed.is_(False))
    named = (json.loads(members)["product_sha256"] for members in connection.scalars(open_ones))
    if digest.hex() not in named:
        raise LeafRefusedError("no approved order is of this revision of a product")
    if connection.execute(select(_products.c.sha256).where(_products.c.sha256 == digest)).first() is None:
        connection.execute(insert(_products), {"sha256": digest, "text": product_toml})


def find_product(connection: Connection, sha256: bytes) -> str:
    """The text of a revision. Raises LeafRefusedError where it was not shown."""
    asked = select(_products.c.text).where(_products.c.sha256 == sha256)
    found: str | None = connection.scalars(asked).one_or_none()
    if found is None:
        raise LeafRefusedError("the order's product was not shown")
    return found


def set_active(connection: Connection, ca: str, certificate_sha256: bytes) -> None:
    """From here on this issuer certifies boards for the CA."""
    connection.execute(_active.delete().where(_active.c.ca == ca))
    connection.execute(insert(_active), {"ca": ca, "certificate_sha256": certificate_sha256})


def active_of(connection: Connection, ca: str) -> bytes | None:
    """SHA-256 of the certificate of the CA's active issuer; None: the notes do not say."""
    return connection.scalars(select(_active.c.certificate_sha256).where(_active.c.ca == ca)).one_or_none()


def note_leaf(
    connection: Connection,
    tbs: bytes,
    leaf: Leaf,
    order: ApprovedOrder,
    *,
    issuer_sha256: bytes,
) -> None:
    """Counts a certificate, before it is signed. The same bytes count once.

    Raises:
        ShareUsedError: this key holder has certified as many places of the order as it may.
        LeafRefusedError: the place has its certificates, the serial number is not one of the order's, or the
            certificate's is another certificate's.
    """
    digest, place, c = hashlib.sha256(tbs).digest(), leaf.place, leaves.c
    if connection.execute(select(c.number).where(c.tbs_sha256 == digest)).first() is not None:
        return
    of_place = (c.work_order == place.work_order, c.name == leaf.name, c.number == place.number)
    issuers = list(connection.scalars(select(c.issuer_sha256).where(*of_place)))
    if issuers.count(issuer_sha256) >= order.certificates_a_place:
        raise LeafRefusedError(
            f"place {place.number} of {order.work_order} has {issuers.count(issuer_sha256)} certificates"
        )
    _check_serial(connection, leaf, order)
    serial = f"{place.certificate_serial:x}"
    of_serial = select(c.number).where(c.issuer_sha256 == issuer_sha256, c.certificate_serial == serial)
    if connection.execute(of_serial).first() is not None:
        raise LeafRefusedError(f"the issuer has another certificate {serial}")
    if not issuers:
        _count_place(connection, leaf, share_in(connection, order))
    row = {
        "tbs_sha256": digest,
        "work_order": place.work_order,
        "name": leaf.name,
        "number": place.number,
        "issuer_sha256": issuer_sha256,
        "product": place.product,
        "chip_id": place.chip_id,
        "serial_number": place.serial_number,
        "certificate_serial": serial,
    }
    connection.execute(insert(leaves), row)


def _count_place(connection: Connection, leaf: Leaf, share: int) -> None:
    work_order = leaf.place.work_order
    c = counts.c
    taken = connection.scalars(
        select(c.places).where(c.work_order == work_order, c.name == leaf.name)
    ).one_or_none()
    if (taken or 0) >= share:
        raise ShareUsedError(f"all {share} places of {work_order} that are this key holder's are taken")
    if taken is None:
        connection.execute(insert(counts), {"work_order": work_order, "name": leaf.name, "places": 1})
    else:
        changed = update(counts).where(c.work_order == work_order, c.name == leaf.name)
        connection.execute(changed.values(places=taken + 1))


def _check_serial(connection: Connection, leaf: Leaf, order: ApprovedOrder) -> None:
    """That of the place; or, for a chip that comes again, the one that it had before."""
    place, c = leaf.place, leaves.c
    if place.serial_number == order.serial_of(place.number):
        return
    before = select(c.chip_id).where(c.serial_number == place.serial_number, c.product == place.product)
    if order.reissue is Reissue.NEVER:
        before = before.where(c.chip_id == place.chip_id)
    if connection.execute(before.limit(1)).first() is None:
        raise LeafRefusedError(
            f"the serial number {place.serial_number[:64]!r} is none of {order.work_order}"
        )


def note_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Raises LeafRefusedError: the log is smaller than the last one, or another of the same size."""
    last = connection.execute(select(_checkpoints)).one_or_none()
    if last is not None and (checkpoint.size, checkpoint.root) == (last.size, last.root):
        return
    if last is not None and checkpoint.size <= last.size:
        raise LeafRefusedError(
            f"a checkpoint of {checkpoint.size} entries, after one of {last.size}: the log was put back"
        )
    connection.execute(_checkpoints.delete())
    connection.execute(insert(_checkpoints), {"size": checkpoint.size, "root": checkpoint.root})


@dataclass(frozen=True, slots=True)
class OrderCount:
    """An order, for people."""

    order: ApprovedOrder
    closed: bool
    share: int  # of this key holder
    places: int  # certified by it


def list_orders(connection: Connection) -> list[OrderCount]:
    """All of them, by name."""
    found = []
    for row in connection.execute(select(_orders).order_by(_orders.c.work_order)):
        order = ApprovedOrder.of(json.loads(row.members))
        places = _places(connection, order.work_order)
        found.append(OrderCount(order, row.closed, share_in(connection, order), places))
    return found


def last_checkpoint(connection: Connection) -> tuple[int, bytes] | None:
    """Size and root of the log, as it was signed last."""
    row = connection.execute(select(_checkpoints)).one_or_none()
    return None if row is None else (row.size, row.root)
