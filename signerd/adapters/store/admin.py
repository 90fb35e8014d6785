"""Administration: peers, products, work orders, chips, revocation, CRLs.

Every method that changes something appends its ledger entry in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from signerd.adapters.store.values import OrderState, Product, RevokedCertificate
from signerd.core.names import PeerName, Role
from signerd.core.order import WorkOrder
from signerd.ports import PeerRecord


class Administration:
    """The part of `SqlStore` that `AdminService` calls. `now` is aware, UTC."""

    async def add_peer(self, name: PeerName, spki_sha256: bytes, now: datetime) -> tuple[PeerRecord, int]:
        """Registers a peer; returns it and its ledger index. A revoked peer may come back with a new key.

        Raises:
            Refused: `already_exists`: a peer of this URI is registered, or the key was registered before.
        """
        raise NotImplementedError

    async def revoke_peer(self, uri: str, now: datetime) -> tuple[PeerRecord, int]:
        """Raises: Refused: `not_found`: no such peer, or it is revoked already."""
        raise NotImplementedError

    async def list_peers(self, role: Role | None = None) -> list[PeerRecord]:
        """All peers, the revoked ones too."""
        raise NotImplementedError

    async def add_product(self, name: str, toml: str, now: datetime) -> int:
        """Adds a product or a revision of one; the ledger index. Raises Refused `already_exists`."""
        raise NotImplementedError

    async def list_products(self) -> list[Product]:
        """The newest revision of each product."""
        raise NotImplementedError

    async def product(self, name: str) -> Product | None:
        """The newest revision."""
        raise NotImplementedError

    async def open_order(self, order: WorkOrder, now: datetime) -> int:
        """Opens a work order; the ledger index.

        Raises:
            Refused: `already_exists`: of this name; `invalid`: no such product revision or station, or
                serial numbers that another work order may give.
        """
        raise NotImplementedError

    async def close_order(self, work_order: str, now: datetime) -> int:
        """Raises: Refused: `not_found`: no such work order; `invalid`: it is closed already."""
        raise NotImplementedError

    async def list_orders(self) -> list[OrderState]:
        """All work orders, in the order of opening."""
        raise NotImplementedError

    async def order(self, work_order: str) -> OrderState | None:
        """One work order with its counts."""
        raise NotImplementedError

    async def import_chips(self, work_order: str, chip_ids: Sequence[str], now: datetime) -> tuple[int, int]:
        """Puts chips on the order's list; how many were new, and the ledger index.

        Raises:
            Refused: `not_found`: no such work order; `invalid`: it is closed, or more than `MAX_CHIPS`.
        """
        raise NotImplementedError

    async def personalize_chips(
        self, chip_ids: Sequence[str], *, locked: bool, site: str, now: datetime
    ) -> tuple[int, int]:
        """Enters chips into the registry; how many were new, and the ledger index.

        Raises:
            Refused: `invalid`: more than `MAX_CHIPS`, or a chip is known with another `locked`.
        """
        raise NotImplementedError

    async def revoke(
        self, *, serial_number: str | None = None, certificate_sha256: bytes | None = None, reason: str, now: datetime
    ) -> int:
        """Revokes one certificate, named by exactly one of the two; the ledger index.

        Raises:
            Refused: `not_found`: no such certificate; `certificate_revoked`: it is revoked already.
        """
        raise NotImplementedError

    async def revoked_certificates(self) -> list[RevokedCertificate]:
        """What a CRL lists."""
        raise NotImplementedError

    async def allot_crl_number(self) -> int:
        """The next CRL number (RFC 5280 §5.2.3). One that is never used is a harmless gap."""
        raise NotImplementedError

    async def record_crl(
        self, *, number: int, crl_sha256: bytes, next_update: datetime, count: int, now: datetime
    ) -> int:
        """The `crl_issued` entry; its ledger index."""
        raise NotImplementedError
