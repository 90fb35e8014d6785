"""The part of `AdminService` that lists chips."""

from __future__ import annotations

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.store import SqlStore
from signerd.adapters.store.values import ImportedIdentity, KnownChip
from signerd.core.names import is_chip_id
from signerd.errors import Code, Refused

_Answer = admin_pb2.ListChipsResponse


class ChipAdministration:
    """Shows what is known of chips."""

    def __init__(self, *, store: SqlStore) -> None:
        self._store = store

    async def list_chips(
        self, _caller: None, request: admin_pb2.ListChipsRequest
    ) -> admin_pb2.ListChipsResponse:
        """A page of all chips, or one chip."""
        for value in (request.after, request.chip_id):
            if value and not is_chip_id(value):
                raise Refused(Code.INVALID, f"{value!r} is not a chip id: 1 to 64 of [A-Za-z0-9._:-]")
        page = await self._store.list_chips(after=request.after, chip_id=request.chip_id or None)
        if request.chip_id and not page.chips:
            raise Refused(
                Code.NOT_FOUND,
                f"chip {request.chip_id} is not personalized, has no imported key, and is on no list",
            )
        return _Answer(chips=[_chip(chip) for chip in page.chips], more=page.more)


def _chip(chip: KnownChip) -> admin_pb2.ListChipsResponse.Chip:
    done = chip.personalized
    return _Answer.Chip(
        chip_id=chip.chip_id,
        personalized=None
        if done is None
        else _Answer.Personalization(
            key=done.key, locked=done.locked, site=done.site, by=done.by, at=fields.timestamp(done.at)
        ),
        identities=[_identity(each) for each in chip.identities],
        work_orders=chip.work_orders,
    )


def _identity(identity: ImportedIdentity) -> admin_pb2.ListChipsResponse.ImportedIdentity:
    return _Answer.ImportedIdentity(
        product=identity.product,
        method=identity.method,
        key_id=identity.key_id,
        spki_sha256=identity.spki_sha256,
        by=identity.by,
        at=fields.timestamp(identity.at),
    )
