"""Rehearsals of work orders: what `core.rehearsal` needs is read, both linters are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from birthmark.v1 import admin_pb2
from signerd.adapters.linting import SampleLinter
from signerd.adapters.rpc import fields
from signerd.adapters.store import SqlStore
from signerd.adapters.store.registry.existing import order_exists
from signerd.adapters.store.values import OrderState
from signerd.adapters.store.values import ProductRevision as StoredProduct
from signerd.core.names import Role, is_chip_id, parse_peer_uri
from signerd.core.order import WorkOrder
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import Product, parse_product
from signerd.core.rehearsal import Opened, Outcome, Rehearsal, Row, rehearse
from signerd.errors import Code, Refused
from signerd.issuers import Issuers

MAX_CHIPS = 1_000  # of a list, a rehearsal
_OUTCOMES = {
    Outcome.OK: admin_pb2.REHEARSAL_OUTCOME_OK,
    Outcome.NOTE: admin_pb2.REHEARSAL_OUTCOME_NOTE,
    Outcome.REFUSED: admin_pb2.REHEARSAL_OUTCOME_REFUSED,
}


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """An order as its file says, and what it came to."""

    order: WorkOrder
    product_toml: str
    rows: tuple[Row, ...]

    def demand_passed(self) -> None:
        """Raises Refused `invalid`, with every check that failed."""
        failed = [f"{row.check}: {row.text}" for row in self.rows if row.outcome is Outcome.REFUSED]
        if failed:
            raise Refused(Code.INVALID, "\n".join(failed))

    def messages(self) -> list[admin_pb2.RehearsalCheck]:
        """For the command."""
        return [
            admin_pb2.RehearsalCheck(check=row.check, outcome=_OUTCOMES[row.outcome], text=row.text)
            for row in self.rows
        ]


class Rehearsing:
    """Rehearses orders against what is in the store."""

    def __init__(
        self,
        *,
        deployment: str,
        store: SqlStore,
        issuers: Issuers,
        linter: SampleLinter,
        clock: Callable[[], datetime],
        master_key: bool,
    ) -> None:
        """`master_key`: whether the installation has one, so that chips can be personalized."""
        self._master_key = master_key
        self._deployment = deployment
        self._store = store
        self._issuers = issuers
        self._linter = linter
        self._clock = clock

    async def rehearse(self, toml: str, chip_ids: Sequence[str]) -> Rehearsed:
        """Nothing of it is entered.

        Args:
            toml: the order's file.
            chip_ids: of its list, at most `MAX_CHIPS`.

        Raises:
            Refused: `invalid`: the file is no work order; `already_exists`: one has this name.
        """
        if len(chip_ids) > MAX_CHIPS:
            raise fields.malformed(f"{len(chip_ids)} chips, at most {MAX_CHIPS}")
        for chip_id in chip_ids:
            if not is_chip_id(chip_id):
                raise Refused(Code.INVALID, f"{chip_id[:80]!r} is not a chip id: 1 to 64 of [A-Za-z0-9._:-]")
        revisions = {product.name: product for product in await self._store.list_products()}
        order = parse_order_file(toml, lambda name: _revision(revisions.get(name)))
        states = await self._store.list_orders()
        for state in states:
            if state.order.work_order == order.work_order:
                raise order_exists(order.work_order, closed=state.closed, opened_index=state.opened_index)
        others = await self._with_products(states)
        rows = [await self._station_row(order)]
        product_toml = revisions[order.product].toml
        product = parse_product(product_toml)
        result = await asyncio.to_thread(
            rehearse,
            order,
            product,
            others,
            issuer=self._issuers.active(product.certificate.ca).issuer,
            now=self._clock().replace(microsecond=0),
            listed=list(chip_ids),
        )
        rows += result.rows
        rows += self._chip_keys(product)
        rows += await self._lint(result)
        return Rehearsed(order, product_toml, tuple(rows))

    async def _with_products(self, states: Sequence[OrderState]) -> list[Opened]:
        digests = {state.order.product_sha256 for state in states}
        products = {digest: parse_product(await self._store.product_text(digest)) for digest in digests}
        return [Opened(state.order, products[state.order.product_sha256]) for state in states]

    async def _station_row(self, order: WorkOrder) -> Row:
        known = {
            peer.name.uri for peer in await self._store.list_peers(Role.STATION) if peer.revoked_at is None
        }
        for uri in order.stations:
            if parse_peer_uri(uri).deployment != self._deployment:
                return Row("stations", Outcome.REFUSED, f"{uri} is not of deployment {self._deployment}")
            if uri not in known:
                said = f"no station {uri} is registered: signerd station add"
                return Row("stations", Outcome.REFUSED, said)
        return Row("stations", Outcome.OK, f"{len(order.stations)}, all registered")

    def _chip_keys(self, product: Product) -> list[Row]:
        if self._master_key or product.evidence.methods != ("hmac-sha256",):
            return []
        said = "this installation has no chip master key (hsm.master_key_in): no board has this evidence"
        return [Row("chip keys", Outcome.REFUSED, said)]

    async def _lint(self, result: Rehearsal) -> list[Row]:
        if not result.samples:
            return []  # what failed before would be found once more
        try:
            notes = await self._linter.lint_samples(result.samples)
        except Refused as error:
            return [Row("certificates", Outcome.REFUSED, error.detail)]
        said = f"{len(result.samples)} linted: the first board's, and the last one's with the longest chip id"
        rows = [Row("certificates", Outcome.OK, said)]
        return rows + [Row("certificates", Outcome.NOTE, note) for note in notes]


def _revision(stored: StoredProduct | None) -> ProductRevision | None:
    return None if stored is None else ProductRevision(parse_product(stored.toml), stored.sha256)
