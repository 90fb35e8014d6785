"""Issuance and stamping over a real store, with a software key holder behind the real guard.

async with issuance_world(directory) as world:
    order = await world.open_order(quantity=1)
    session, answer = await world.certify(order, world.board())
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from boards.attesters.port import Attester
from harness.commit_keys import software_commit_keys
from harness.fresh_database import fresh_database
from harness.installation import SENSOR
from harness.paper_board import PaperBoard
from harness.session_keys import EveryDay
from harness.software_key_holder import SoftwareKeyHolder, make_device_tree
from signerd.adapters.store import SqlStore, open_log
from signerd.adapters.store.log.ledger import Sign
from signerd.core.entry import IssuerAdded, LogOpened
from signerd.core.evidence.method import EvidenceSubmission
from signerd.core.identity_list import check_identity, parse_line
from signerd.core.key_policy import check_quality
from signerd.core.names import FIRST, Level, PeerName, Reissue, parse_peer_uri
from signerd.core.note import VerifierKey
from signerd.core.order import WorkOrder
from signerd.core.product import parse_product
from signerd.core.profile import Issuer
from signerd.core.session import SessionSealer
from signerd.issuance import Issuance, IssuedAnswer, OpenedSession
from signerd.issuers import IssuerParts, Issuers
from signerd.ports import LedgerPosition
from signerd.stamping import Stamping

CHIPS = 40
LIFETIME = timedelta(minutes=10)
PRODUCT = SENSOR.replace('["hmac-sha256"]', '["hmac-sha256", "none"]')


class QualityAtOnce:
    """`KeyQuality` that looks at the keys itself, at nobody's cost."""

    async def check(self, keys: Sequence[rsa.RSAPublicKey], payer: bytes) -> None:  # noqa: ARG002 (the port's)
        """See `signerd.ports.KeyQuality`."""
        for key in keys:
            check_quality(key)


class IssuanceWorld:
    """One signerd without its edges. `now` is a clock that the test moves."""

    def __init__(self, store: SqlStore, key_holder: SoftwareKeyHolder, issuer: Issuer) -> None:
        self.store = store
        self.key_holder = key_holder
        self.issuer = issuer
        self.issuer_parts = {hashlib.sha256(issuer.chain[0]).digest(): IssuerParts(issuer, key_holder)}
        self.issuers = Issuers(store, self.issuer_parts)
        self.now = datetime.now(UTC)
        self.pc1 = parse_peer_uri("birthmark://test/station/plant1/pc1")
        self.pc2 = parse_peer_uri("birthmark://test/station/plant1/pc2")
        self._chips = itertools.count()
        self._orders = itertools.count(1)
        self.restart()

    def restart(self) -> None:
        """A new process: sessions that led to nothing are gone."""
        self.issuance = Issuance(
            store=self.store,
            key_holder=self.key_holder,
            key_quality=QualityAtOnce(),
            issuers=self.issuers,
            sealer=SessionSealer(EveryDay(secrets.token_bytes(32))),
            session_lifetime=LIFETIME,
            clock=lambda: self.now,
        )
        self.stamping = Stamping(store=self.store, clock=lambda: self.now)

    async def stock(self) -> None:
        """Stations, the product, and chips of which half are locked."""
        for peer in (self.pc1, self.pc2):
            await self.store.add_peer(peer, hashlib.sha256(peer.uri.encode()).digest(), self.now)
        await self.store.add_product("sensor", PRODUCT, self.now)
        for locked in (True, False):
            chips = [f"{'locked' if locked else 'open'}:{number}" for number in range(CHIPS)]
            await self.store.personalize_chips(
                chips, locked=locked, site="lab", key="hmac-sha256", by="ann", now=self.now
            )

    def board(self, *, locked: bool = True) -> PaperBoard:
        """A genuine board that nobody used before."""
        chip = f"{'locked' if locked else 'open'}:{next(self._chips)}"
        return PaperBoard(chip, self.key_holder.chip_key(chip))

    async def add_product(self, toml: str) -> dict[str, Any]:
        """Adds a product; the terms by which a work order names it."""
        product = parse_product(toml).name
        await self.store.add_product(product, toml, self.now)
        return {"product": product, "product_sha256": hashlib.sha256(toml.encode()).digest()}

    async def add_issuer(self, name: str, *, ca: str = FIRST) -> tuple[Issuer, SoftwareKeyHolder]:
        """Announces an issuer with a tree and a key holder of its own. It does not issue yet."""
        tree = make_device_tree(now=self.now.replace(microsecond=0) - timedelta(days=2))
        issuer = Issuer.of((tree.sub_ca,))
        key_holder = SoftwareKeyHolder(tree.sub_ca, tree.sub_ca_key)
        digest = hashlib.sha256(issuer.chain[0]).digest()
        self.issuer_parts[digest] = IssuerParts(issuer, key_holder)
        await self.store.add_issuer(
            IssuerAdded(
                time=self.now,
                by="ann",
                issuer=name,
                ca=ca,
                certificate_sha256=digest,
                root_sha256=hashlib.sha256(tree.root.public_bytes(Encoding.DER)).digest(),
                not_after=tree.sub_ca.not_valid_after_utc,
            )
        )
        await self.issuers.refresh()
        return issuer, key_holder

    async def activate_issuer(self, name: str) -> None:
        """What `signerd ca activate` does."""
        await self.store.activate_issuer(name, self.now, by="ann")
        await self.issuers.refresh()

    async def import_identities(self, product: str, *attesters: Attester) -> None:
        """What `signerd chips import-identities` does with their lines."""
        for attester in attesters:
            identity = parse_line(json.dumps(attester.identity()).encode())
            check_identity(identity, attester.method)
            await self.store.import_identities(product, attester.method, [identity], by="ann", now=self.now)

    async def open_order(self, **terms: Any) -> str:
        """Opens a work order; returns its id."""
        number = next(self._orders)
        moment = self.now.replace(microsecond=0)
        order = WorkOrder(
            work_order=f"WO-{number}",
            product="sensor",
            product_sha256=hashlib.sha256(PRODUCT.encode()).digest(),
            quantity=10,
            not_before=moment - timedelta(days=1),
            not_after=moment + timedelta(days=1),
            stations=(self.pc1.uri, self.pc2.uri),
            level=Level.CHIP,
            minimum_firmware={},
            serial_pattern=f"S{number}-{{number:04d}}",
            serial_start=1,
            reissue=Reissue.NEVER,
            settings=b"\xa0",
            bundle=None,
        )
        await self.store.open_order(replace(order, **terms), self.now, rehearsed=True)
        return order.work_order

    async def sign(
        self, session: OpenedSession, board: PaperBoard, peer: PeerName | None = None
    ) -> IssuedAnswer:
        """SignCsr with a fresh request of the board."""
        csr, evidence = board.request(session.challenge)
        submission = EvidenceSubmission(evidence.method, evidence.claims, evidence.evidence)
        return await self.issuance.sign_csr(peer or self.pc1, session.session, csr, submission)

    async def certify(
        self, order: str, board: PaperBoard, peer: PeerName | None = None
    ) -> tuple[OpenedSession, IssuedAnswer]:
        """OpenSession and SignCsr."""
        session = await self.issuance.open_session(peer or self.pc1, order, board.chip_id)
        return session, await self.sign(session, board, peer)

    async def stamp(self, board: PaperBoard, session: OpenedSession, answer: IssuedAnswer) -> LedgerPosition:
        """RecordStamp with the board's honest stamp."""
        record = answer.record
        stamp, signature = board.stamp(
            session.challenge, record.place.serial_number, record.certificate_der, record.settings
        )
        return await self.stamping.record_stamp(self.pc1, session.session, stamp, signature)


@asynccontextmanager
async def issuance_world(
    directory: Path, further_signs: Mapping[VerifierKey, Sign] = MappingProxyType({})
) -> AsyncIterator[IssuanceWorld]:
    """A world in an empty directory. `further_signs`: of keys that may come after the log's first."""
    tree = make_device_tree(now=datetime.now(UTC).replace(microsecond=0) - timedelta(days=2))
    key_holder = SoftwareKeyHolder(tree.sub_ca, tree.sub_ca_key)
    url, head = f"sqlite:///{directory / 'signerd.sqlite'}", directory / "head" / "checkpoint"
    fresh_database(url)
    now, log = datetime.now(UTC), key_holder.log
    opened = LogOpened(
        time=now,
        by=None,
        deployment="test",
        origin=log.name,
        issuer_sha256=hashlib.sha256(tree.sub_ca.public_bytes(Encoding.DER)).digest(),
        root_sha256=bytes(32),
        vkey=log.text(),
    )
    open_log(url, head_file=head, entry=opened)
    store = await SqlStore.open(
        url,
        head_file=head,
        tiles=directory / "tiles",
        origin=log.name,
        vkey=log.text(),
        sign_checkpoint=key_holder.sign_checkpoint,
        commit_keys=software_commit_keys(),
        further_signs=further_signs,
        now=now,
    )
    try:
        world = IssuanceWorld(store, key_holder, Issuer.of((tree.sub_ca,)))
        await world.issuers.refresh()
        await world.stock()
        yield world
    finally:
        await store.close()
