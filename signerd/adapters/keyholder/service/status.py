"""What a key holder's service knows, read from its notes beside it; and the places that it gives up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.ends import issuer_ends
from signerd.adapters.keyholder.service import noted_approvals, noted_orders, notes
from signerd.adapters.keyholder.service.settings import KeyHolderConfig
from signerd.adapters.keyholder.service.shown_ends import members
from signerd.adapters.store.tables.database import make_engine, start_fault
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.approved_order import LeafRefusedError
from signerd.core.ends import End, in_order
from signerd.errors import Code, ConfigError, Refused


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """Of one order."""

    work_order: str
    quantity: int
    share: int  # of this key holder
    places: int  # that it certified
    not_after: datetime
    closed: bool


@dataclass(frozen=True, slots=True)
class Status:
    """All of it."""

    name: str
    notes: Path
    administrators: AdministratorSet
    orders: tuple[OrderStatus, ...]
    checkpoint: int | None  # entries
    ends: tuple[End, ...]  # of its certificates, the next one first

    def members(self) -> dict[str, object]:
        """For machines."""
        return {
            "name": self.name,
            "notes": str(self.notes),
            "threshold": self.administrators.threshold,
            "administrators": list(self.administrators.members),
            "orders": [
                {
                    "work_order": each.work_order,
                    "quantity": each.quantity,
                    "share": each.share,
                    "places": each.places,
                    "not_after": each.not_after.isoformat(),
                    "closed": each.closed,
                }
                for each in self.orders
            ],
            "checkpoint": self.checkpoint,
            "ends": members(self.ends),
        }


def read_status(config: KeyHolderConfig) -> Status:
    """Raises ConfigError: the notes or a certificate cannot be read."""
    if not config.service.notes.is_file():
        raise ConfigError(f"there are no notes {config.service.notes}, or this user may not read them")
    engine = make_engine(f"sqlite:///{config.service.notes}", "read")
    try:
        with engine.begin() as connection:
            return _status(connection, config)
    except SQLAlchemyError as error:
        raise start_fault(f"cannot read {config.service.notes}", error) from error
    finally:
        engine.dispose()


def release_places(config: KeyHolderConfig, work_order: str, places: int) -> int:
    """Gives up places of an order, durably; how many are left.

    A crash before the commit leaves them here. After it they are nobody's until administrators give them.

    Raises:
        ConfigError: the notes cannot be read or written.
        Refused: `invalid`: no such order is open here, or fewer places are left.
    """
    if not config.service.notes.is_file():
        raise ConfigError(f"there are no notes {config.service.notes}, or this user may not read them")
    engine = make_engine(f"sqlite:///{config.service.notes}", "write")
    try:
        with engine.begin() as connection:
            return noted_orders.release_share(connection, work_order, places)
    except LeafRefusedError as error:
        raise Refused(Code.INVALID, str(error)) from error
    except SQLAlchemyError as error:
        raise start_fault(f"cannot write {config.service.notes}", error) from error
    finally:
        engine.dispose()


def _status(connection: Connection, config: KeyHolderConfig) -> Status:
    about, last = notes.read_about(connection), notes.last_checkpoint(connection)
    counted = [
        OrderStatus(
            each.order.work_order,
            each.order.quantity,
            each.share,
            each.places,
            each.order.not_after,
            each.closed,
        )
        for each in noted_orders.list_orders(connection)
    ]
    return Status(
        about.holder,
        config.service.notes,
        noted_approvals.in_force(connection),
        tuple(counted),
        None if last is None else last[0],
        in_order(issuer_ends(config)),
    )
