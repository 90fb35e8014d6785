"""Administration: peers, products, work orders, chips, revocation, CRLs.

Every method that changes something appends its ledger entry in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from signerd.adapters.store import listing
from signerd.adapters.store.boards.shared_primes import (
    RsaCertificates,
    record_shared_primes,
    rsa_certificates,
)
from signerd.adapters.store.log import checkpoint_keys
from signerd.adapters.store.parts import Parts
from signerd.adapters.store.registry import issuers, operations_cas, registry, renewals
from signerd.adapters.store.registry.approving import (
    ApprovalsInUse,
    administrators_entry,
    approvals_in_use,
    ask_administrators,
    set_administrators,
)
from signerd.adapters.store.registry.chip_list import list_chips
from signerd.adapters.store.registry.identities import import_identities
from signerd.adapters.store.registry.operations_cas import Announcement
from signerd.adapters.store.registry.renewals import Asked, PendingRenewal, RenewalRequest
from signerd.adapters.store.values import ChipPage, OrderState, ProductRevision, RevokedCertificate
from signerd.core.approval.actions import Approval
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.checkpoint_keys import LogKeys, Reason
from signerd.core.entry import MAX_SHARED_PRIMES, CheckpointKeyAdded, CrlIssued, IssuerAdded, KeysCommitted
from signerd.core.identity_list import ChipIdentity
from signerd.core.issuers import IssuerRecord
from signerd.core.names import FIRST, PeerName, Role
from signerd.core.order import Share, WorkOrder
from signerd.errors import Code, Refused, Unavailable
from signerd.ports import PeerRecord

ANNOUNCED_S = 5.0  # until a checkpoint is over an announcement that was just made
MAX_CHIPS = 10_000  # chip ids in one call: bounds how long the writer is held
MAX_IDENTITIES = 1_000  # identities in one call, for the same reason; each may hold 1 KiB


class Administration(Parts):
    """The part of `SqlStore` that `AdminService` calls. `now` is aware, UTC; `by` the administrator, for the
    ledger. What takes an `approval` raises as `approving.append_approved` too."""

    async def administrators(self) -> AdministratorSet:
        """Who is asked for approvals now."""
        return self._writer.states.newest.administrators

    async def approvals_shown(self) -> ApprovalsInUse:
        """Those that a key holder's service has to know."""
        return await self._long_reader.do(approvals_in_use)

    async def set_administrators(
        self,
        administrators: AdministratorSet,
        now: datetime,
        *,
        by: str | None = None,
        approval: Approval = None,
    ) -> int:
        """Others are asked from now on; the ledger index. Those of before approve it."""
        entry = administrators_entry(administrators, now, by)
        return await self._writer.do(lambda tx: set_administrators(tx, entry, approval))

    async def ask_administrators(self, now: datetime) -> AdministratorSet:
        """Enters the administrators of the settings, where the ledger says that nobody is asked; who is asked
        now. After a crash before the commit nobody is, and nothing asked them: the next start does it."""
        return await self._writer.do(lambda tx: ask_administrators(tx, now))

    async def add_peer(
        self,
        name: PeerName,
        spki_sha256: bytes,
        now: datetime,
        *,
        by: str | None = None,
        not_after: datetime | None = None,
        ca_sha256: bytes | None = None,
    ) -> tuple[PeerRecord, int]:
        """Registers a peer; returns it and its ledger index. A revoked peer may come back with a new key.
        `not_after` is its certificate's end, `ca_sha256` the operations CA that it is of.

        Raises:
            Refused: `already_exists`: a peer of this URI is registered, or the key was registered before.
        """
        return await self._writer.do(
            lambda tx: registry.add_peer(tx, name, spki_sha256, now, by, not_after, ca_sha256)
        )

    async def renew_peer(
        self,
        name: PeerName,
        spki_sha256: bytes,
        now: datetime,
        *,
        not_after: datetime,
        by: str | None = None,
        certificate: bytes | None = None,
    ) -> tuple[PeerRecord, int]:
        """A newer certificate of a registered peer, until `not_after`. Another key goes beside the old one.
        A peer that asked for it fetches `certificate`, DER.

        Raises:
            Refused: `not_found`: no such peer, or it is revoked; `already_exists`: the key is another peer's,
                or was this one's before.
        """
        return await self._writer.do(
            lambda tx: registry.renew_peer(tx, name, spki_sha256, now, by, not_after, certificate)
        )

    async def revoke_peer(self, uri: str, now: datetime, *, by: str | None = None) -> tuple[PeerRecord, int]:
        """Raises: Refused: `not_found`: no such peer, or it is revoked already."""
        return await self._writer.do(lambda tx: registry.revoke_peer(tx, uri, now, by))

    async def list_peers(self, role: Role | None = None) -> list[PeerRecord]:
        """All peers, the revoked ones too."""
        states = self._writer.states
        return await self._long_reader.do(lambda connection: listing.list_peers(connection, states, role))

    async def renewal_of(self, request: RenewalRequest) -> Asked:
        """How a peer's request for a renewal stands."""
        states = self._writer.states
        return await self._reader.do(lambda connection: renewals.asked(connection, states, request))

    async def ask_renewal(self, request: RenewalRequest, now: datetime) -> bool:
        """Keeps that a peer asked and waits; whether that is new. One request a key."""
        return await self._writer.do(lambda tx: renewals.ask(tx, request, now))

    async def renew_by_itself(
        self, request: RenewalRequest, certificate: bytes, not_after: datetime, now: datetime
    ) -> int:
        """The certificate (DER) of a peer that is renewed without an administrator; its ledger index. Raises
        Refused `not_found`: revoked, or replaced, meanwhile."""
        return await self._writer.do(lambda tx: renewals.renew(tx, request, certificate, not_after, now))

    async def choose_renewal(self, uri: str, now: datetime, *, automatic: bool, by: str | None = None) -> int:
        """Whether this peer is renewed without an administrator; the ledger index. Raises Refused
        `not_found`."""
        return await self._writer.do(lambda tx: renewals.choose(tx, uri, now, automatic=automatic, by=by))

    async def pending_renewals(self) -> list[PendingRenewal]:
        """What waits for an administrator, the oldest first."""
        return await self._long_reader.do(renewals.pending)

    async def announce_operations_ca(
        self, wanted: Announcement, now: datetime
    ) -> tuple[int, tuple[str, ...]]:
        """Enters a step of the operations CA's succession; its ledger index, and the peers that are cut off.
        A step that was entered before is not entered again.

        Raises:
            Refused: `invalid`: peers would be cut off, and `force` does not say so; or the CA was retired, or
                not added.
        """
        return await self._writer.do(lambda tx: operations_cas.announce(tx, wanted, now))

    @property
    def log_keys(self) -> LogKeys:
        """The log's keys, as of the newest entry."""
        return self._ledger.keys

    async def add_checkpoint_key(self, entry: CheckpointKeyAdded, approval: Approval = None) -> int:
        """A successor of the log's key, which does not sign yet; the ledger index. Raises Refused `invalid`:
        there is one already, or it is no key of this log."""
        return await self._writer.do(lambda tx: checkpoint_keys.add_key(tx, entry, approval))

    async def activate_checkpoint_key(self, key_id: str, now: datetime, *, by: str | None = None) -> int:
        """From its entry on it signs beside the key of before; the ledger index. Raises Refused `invalid`: it
        was not announced, or not under a published checkpoint."""
        with suppress(Unavailable, TimeoutError):  # then the checkpoint of before says so
            async with asyncio.timeout(ANNOUNCED_S):
                await self._ledger.wait_published(max(key.added for key in self.log_keys.keys))
        proof = self._ledger.note
        return await self._writer.do(lambda tx: checkpoint_keys.activate_key(tx, key_id, proof, now, by))

    async def retire_checkpoint_key(
        self,
        key_id: str,
        reason: Reason,
        now: datetime,
        *,
        by: str | None = None,
        approval: Approval = None,
    ) -> int:
        """From its entry on it signs nothing; the ledger index. Raises Refused `invalid`: no other signs."""
        return await self._writer.do(
            lambda tx: checkpoint_keys.retire_key(tx, key_id, reason, now, by, approval)
        )

    async def note_cas(self, seen: Mapping[bytes, bytes]) -> None:
        """Keeps, by public key (SHA-256), the operations CA of the certificate that a peer called with."""
        await self._writer.do(lambda tx: operations_cas.note_cas(tx, seen))

    async def add_product(
        self, name: str, toml: str, now: datetime, *, by: str | None = None, approval: Approval = None
    ) -> int:
        """Adds a product or a revision of one; the ledger index. Raises Refused `already_exists`."""
        return await self._writer.do(lambda tx: registry.add_product(tx, name, toml, now, by, approval))

    async def list_products(self) -> list[ProductRevision]:
        """The newest revision of each product."""
        return await self._long_reader.do(listing.list_products)

    async def product(self, name: str) -> ProductRevision | None:
        """The newest revision."""
        states = self._writer.states
        return await self._long_reader.do(lambda connection: listing.product(connection, states, name))

    async def open_revisions(self, name: str) -> Sequence[str]:
        """The TOML of each revision that an order keeps which is not closed."""
        return await self._long_reader.do(lambda connection: listing.open_revisions(connection, name))

    async def open_order(
        self,
        order: WorkOrder,
        now: datetime,
        *,
        by: str | None = None,
        rehearsed: bool = False,
        approval: Approval = None,
    ) -> int:
        """Opens a work order; the ledger index. The ledger says whether it was `rehearsed`.

        Raises:
            Refused: `already_exists`: of this name; `invalid`: no such product revision or station, or
                serial numbers that another work order may give.
        """
        return await self._writer.do(
            lambda tx: registry.open_order(tx, order, now, by, approval, rehearsed=rehearsed)
        )

    async def close_order(self, work_order: str, now: datetime, *, by: str | None = None) -> int:
        """Raises: Refused: `not_found`: no such work order; `invalid`: it is closed already."""
        return await self._writer.do(lambda tx: registry.close_order(tx, work_order, now, by))

    async def give_share(
        self, share: Share, now: datetime, *, by: str | None = None, approval: Approval = None
    ) -> int:
        """Raises: Refused: `not_found`: no such work order; `invalid`: it is closed, or has fewer places."""
        return await self._writer.do(lambda tx: registry.give_share(tx, share, now, by=by, approval=approval))

    async def list_orders(self) -> list[OrderState]:
        """All work orders, in the order of opening."""
        return await self._long_reader.do(listing.list_orders)

    async def open_windows(self, now: datetime) -> dict[str, datetime]:
        """Of each open order whose window is not over, its end."""
        return await self._long_reader.do(lambda connection: listing.open_windows(connection, now))

    async def order(self, work_order: str) -> OrderState | None:
        """One work order with its counts."""
        return await self._long_reader.do(lambda connection: listing.order(connection, work_order))

    async def import_chips(
        self, work_order: str, chip_ids: Sequence[str], now: datetime, *, by: str | None = None
    ) -> tuple[int, int]:
        """Puts chips on the order's list; how many were new, and the ledger index.

        Raises:
            Refused: `not_found`: no such work order; `invalid`: it is closed, or more than `MAX_CHIPS`.
        """
        _check_count(chip_ids)
        return await self._writer.do(lambda tx: registry.import_chips(tx, work_order, chip_ids, now, by))

    async def personalize_chips(
        self,
        chip_ids: Sequence[str],
        *,
        locked: bool,
        site: str,
        key: str,
        by: str,
        now: datetime,
        approval: Approval = None,
    ) -> tuple[int, int]:
        """Enters chips into the registry; how many were new, and the ledger index.

        Args:
            chip_ids: of their form.
            locked: the chips' firmware is locked before they leave the place.
            site: where it is done.
            key: which secret is burned (docs/formats.md, "Ledger").
            by: the administrator.
            now: aware, UTC.
            approval: of administrators, where they are asked.

        Raises:
            Refused: `invalid`: more than `MAX_CHIPS`, or a chip is known with another `locked` or key.
        """
        _check_count(chip_ids)
        return await self._writer.do(
            lambda tx: registry.personalize_chips(
                tx, chip_ids, locked=locked, site=site, key=key, by=by, now=now, approval=approval
            )
        )

    async def list_chips(self, *, after: str = "", chip_id: str | None = None) -> ChipPage:
        """A page of the chips after this one, or the one chip."""
        return await self._long_reader.do(
            lambda connection: list_chips(connection, after=after, chip_id=chip_id)
        )

    async def import_identities(
        self,
        product: str,
        method: str,
        identities: Sequence[ChipIdentity],
        *,
        by: str,
        now: datetime,
        approval: Approval = None,
    ) -> tuple[int, int]:
        """Enters attestation keys; how many were new, and the ledger index.

        Args:
            product: of its form; it need not be known here.
            method: whose keys they are.
            identities: as `check_identity` made them.
            by: the administrator.
            now: aware, UTC.

        Raises:
            Refused: `invalid`: more than `MAX_IDENTITIES`, or a chip, a key id or a key is imported with
                something else. The text names the chip, and nothing of the call is entered.
        """
        if len(identities) > MAX_IDENTITIES:
            raise Refused(Code.INVALID, f"more than {MAX_IDENTITIES} identities in one call")
        return await self._writer.do(
            lambda tx: import_identities(tx, product, method, identities, by=by, now=now, approval=approval)
        )

    async def rsa_certificates(self, *, after_record_id: int = 0) -> RsaCertificates:
        """A page of the RSA certificates of the whole history, by ascending record.

        A record that gets its certificate after a page went past it comes with the next full search.
        """
        return await self._long_reader.do(lambda connection: rsa_certificates(connection, after_record_id))

    async def record_shared_primes(self, certificates: Sequence[bytes], now: datetime) -> int:
        """Names certificates, by their SHA-256, in `shared_primes_found` entries; how many were new.

        One transaction an entry: after a crash between two, calling it again enters the rest.
        """
        new = 0
        for start in range(0, len(certificates), MAX_SHARED_PRIMES):
            chunk = certificates[start : start + MAX_SHARED_PRIMES]
            new += await self._writer.do(partial(record_shared_primes, certificates=chunk, now=now))
        return new

    async def revoke(
        self,
        *,
        serial_number: str | None = None,
        certificate_sha256: bytes | None = None,
        reason: str,
        now: datetime,
        by: str | None = None,
        approval: Approval = None,
    ) -> int:
        """Revokes one certificate, named by exactly one of the two; the ledger index.

        Raises:
            Refused: `not_found`: no such certificate; `certificate_revoked`: it is revoked already.
        """
        if (serial_number is None) == (certificate_sha256 is None):
            raise Refused(Code.INVALID, "a certificate is named by its board's serial number or its SHA-256")
        return await self._writer.do(
            lambda tx: registry.revoke_certificate(
                tx,
                serial_number=serial_number,
                certificate_sha256=certificate_sha256,
                reason=reason,
                now=now,
                by=by,
                approval=approval,
            )
        )

    async def commit_recipients(self, entry: KeysCommitted, approval: Approval = None) -> int:
        """The entry, unless the last of its kind names the same recipients; the ledger index. Places and
        commitment are those of the last one."""
        return await self._writer.do(lambda tx: registry.commit_recipients(tx, entry, approval))

    async def list_issuers(self) -> list[IssuerRecord]:
        """All of them, the first one first."""
        states = self._writer.states
        return await self._long_reader.do(lambda connection: issuers.list_issuers(connection, states))

    async def add_issuer(self, entry: IssuerAdded, approval: Approval = None) -> IssuerRecord:
        """A further issuer, which does not issue yet. Raises Refused `already_exists`."""
        return await self._writer.do(lambda tx: issuers.add_issuer(tx, entry, approval))

    async def activate_issuer(
        self, name: str, now: datetime, *, by: str | None = None, approval: Approval = None
    ) -> tuple[IssuerRecord, int]:
        """It issues from here on, in the place of the one before; the ledger index.

        Raises:
            Refused: `not_found`: no such issuer; `invalid`: it is retired; `already_exists`: it is active.
        """
        return await self._writer.do(lambda tx: issuers.activate_issuer(tx, name, now, by, approval))

    async def retire_issuer(
        self, name: str, now: datetime, *, by: str | None = None, approval: Approval = None
    ) -> tuple[IssuerRecord, int]:
        """It never issues again; the ledger index.

        Raises:
            Refused: `not_found`: no such issuer; `invalid`: it is active; `already_exists`: it is retired.
        """
        return await self._writer.do(lambda tx: issuers.retire_issuer(tx, name, now, by, approval))

    async def accept_clock(self, *, by: str, before: datetime, now: datetime) -> int:
        """The `clock_accepted` entry, from which on times are counted from `now`; its ledger index."""
        return await self._writer.do(lambda tx: registry.accept_clock(tx, by=by, before=before, now=now))

    async def clock_era(self) -> int:
        """The index of the last `clock_accepted` entry, 0 where there is none."""
        return self._writer.states.newest.clock_accepted

    async def revoked_certificates(
        self, ours: Callable[[bytes], bool] | None = None
    ) -> list[RevokedCertificate]:
        """What a CRL lists. `ours`: whether a certificate (DER) is of its issuer's name and key; None: all
        are, since there is one issuer."""
        states = self._writer.states
        return await self._long_reader.do(
            lambda connection: listing.revoked_certificates(connection, states, ours)
        )

    async def allot_crl_number(self) -> int:
        """The next CRL number (RFC 5280 §5.2.3). One that is never used is a harmless gap."""
        return await self._writer.do(registry.allot_crl_number)

    async def record_crl(
        self,
        *,
        number: int,
        crl_sha256: bytes,
        next_update: datetime,
        count: int,
        now: datetime,
        by: str | None = None,
        issuer: str = FIRST,
    ) -> int:
        """The `crl_issued` entry of a CRL of this issuer; its ledger index."""
        entry = CrlIssued(
            time=now, crl_number=number, crl_sha256=crl_sha256, next_update=next_update, count=count, by=by
        )
        return await self._writer.do(lambda tx: registry.record_crl(tx, entry, issuer))

    async def crl_next_updates(self) -> dict[str, datetime]:
        """Of the newest CRL of each issuer that has one."""
        return await self._long_reader.do(listing.crl_next_updates)


def _check_count(chip_ids: Sequence[str]) -> None:
    if len(chip_ids) > MAX_CHIPS:
        raise Refused(Code.INVALID, f"more than {MAX_CHIPS} chips in one call")
