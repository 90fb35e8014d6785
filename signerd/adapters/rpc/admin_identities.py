"""The part of `AdminService` about attestation keys that no vendor certifies."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.store import SqlStore
from signerd.core.chip_list import ChipListError, check_chip_id, check_together
from signerd.core.entry import digest_identities
from signerd.core.evidence import methods_with
from signerd.core.evidence.method import Entered
from signerd.core.identity_list import ChipIdentity, IdentityError, check_identity
from signerd.core.names import is_chip_id
from signerd.core.product import parse_product
from signerd.errors import Code, Refused

MAX_IDENTITIES = 1_000  # a call, admin.proto


class IdentityAdministration:
    """Importing attestation keys."""

    def __init__(self, *, store: SqlStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def import_identities(
        self, _caller: None, request: admin_pb2.ImportIdentitiesRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ImportIdentitiesResponse:
        """All of them, or none. One that is imported already counts 0."""
        count = len(request.identities)
        if not 1 <= count <= MAX_IDENTITIES:
            raise fields.malformed(f"{count} identities in one call, not 1 to {MAX_IDENTITIES}")
        by = fields.administrator(request.by)
        await self._check_method(request.product, request.method)
        # Their keys' quality takes up to some milliseconds each: not on the event loop.
        identities = await asyncio.to_thread(_checked, request)
        added, index = await self._store.import_identities(
            request.product,
            request.method,
            identities,
            by=by,
            now=self._clock(),
            approval=approval_of(request, _digest(identities), preparing=preparing),
        )
        return admin_pb2.ImportIdentitiesResponse(added=added, ledger_index=index)

    async def _check_method(self, product: str, method: str) -> None:
        importing = methods_with(Entered.IMPORTED)
        if method not in importing:
            known = ", ".join(sorted(importing))
            raise Refused(Code.INVALID, f"method {method!r} uses no imported keys. These do: {known}")
        stored = await self._store.product(product)
        if stored is None:
            raise Refused(Code.INVALID, f"no product {product!r}; `signerd product add` adds one")
        accepted = parse_product(stored.toml).evidence.methods
        if method in accepted:
            return
        # An order keeps the revision that it was opened with, and its chips may still be coming.
        for toml in await self._store.open_revisions(product):
            if method in parse_product(toml).evidence.methods:
                return
        raise Refused(
            Code.INVALID,
            f"neither the newest revision of product {product} nor an open work order of it accepts {method}."
            f" The newest revision accepts: {', '.join(accepted)}",
        )


def _digest(identities: Sequence[ChipIdentity]) -> bytes:
    return digest_identities(
        (each.chip_id, each.key_id, hashlib.sha256(each.spki).digest()) for each in identities
    )


def _checked(request: admin_pb2.ImportIdentitiesRequest) -> list[ChipIdentity]:
    identities = []
    try:
        for each in request.identities:
            identity = ChipIdentity(each.chip_id, each.key_id, each.spki, each.tpm_public)
            try:
                check_chip_id(each.chip_id)
                check_identity(identity, request.method)
            except (ChipListError, IdentityError) as error:
                named = f"chip {each.chip_id}: " if is_chip_id(each.chip_id) else ""  # else it says so itself
                raise Refused(Code.INVALID, f"{named}{error}") from error
            identities.append(identity)
        check_together(identity.chip_id for identity in identities)
    except ChipListError as error:
        raise Refused(Code.INVALID, str(error)) from error
    return identities
