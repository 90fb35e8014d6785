"""The part of `AdminService` about approvals: preparing what administrators sign, and who they are.

An action is prepared by the very code that does it, up to its ledger entry, which is then dropped with all
that was written: what administrators see is what would be entered.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.store import SqlStore
from signerd.adapters.store.registry.approving import WouldAppend
from signerd.core.approval.actions import Approval, Preparing, ShownApproval
from signerd.core.approval.administrators import (
    MAX_FILE,
    AdministratorSet,
    namespace_of,
    parse_administrators,
)
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.sshsig import MAX_ARMORED
from signerd.core.approval.statement import (
    MAX_PARTS,
    MAX_STATEMENT,
    REQUEST_BYTES,
    Statement,
    parse_statement,
)
from signerd.core.approval.verify import MAX_SIGNATURES, MAX_VALID
from signerd.errors import Code, Fault, Refused


class Action(Protocol):
    """A call that may need an approval."""

    def __call__(self, caller: None, request: Any, /, *, preparing: bool = False) -> Awaitable[Any]:
        """Does it; or, with `preparing`, raises `WouldAppend`."""


def approval_of(request: Any, given: bytes | None, *, preparing: bool) -> Approval:
    """The approval that a request carries. `given`: SHA-256 of what the command was given."""
    if preparing:
        return Preparing(given)
    if not request.HasField("approval"):
        return None
    approval = request.approval
    if len(approval.signatures) > MAX_SIGNATURES:
        raise fields.malformed(f"{len(approval.signatures)} signatures, more than {MAX_SIGNATURES}")
    return ShownApproval(
        statement=fields.size(approval.statement, "approval.statement", least=1, most=MAX_STATEMENT),
        signatures=tuple(
            fields.size(each, "approval.signatures", least=1, most=MAX_ARMORED)
            for each in approval.signatures
        ),
        part=approval.part,
        given=given,
    )


class ApprovalAdministration:
    """Preparing approvals; showing and changing administrators."""

    def __init__(self, *, deployment: str, store: SqlStore, clock: Callable[[], datetime]) -> None:
        self._deployment = deployment
        self._store = store
        self._clock = clock

    async def prepare_approval(
        self, request: admin_pb2.PrepareApprovalRequest, actions: Mapping[str, Action]
    ) -> admin_pb2.PrepareApprovalResponse:
        """What the actions would enter, as one text. Nothing of it is done."""
        kinds = {each.WhichOneof("action") for each in request.actions}
        if not 1 <= len(request.actions) <= MAX_PARTS or len(kinds) != 1 or None in kinds:
            raise fields.malformed(f"actions must be 1 to {MAX_PARTS} of one kind")
        if not 1 <= request.valid_days <= MAX_VALID.days:
            raise fields.malformed(f"valid_days is not 1 to {MAX_VALID.days}")
        (kind,) = kinds
        work = actions[str(kind)]
        would = [await _would(work, getattr(each, str(kind))) for each in request.actions]
        if not would[0].asked.asked:
            raise Refused(Code.INVALID, "no approval is asked for here: give the command without one")
        statement = Statement(
            deployment=would[0].installation.deployment,
            log=would[0].installation.log,
            action=would[0].action,
            request=secrets.token_bytes(REQUEST_BYTES),
            expires=self._clock().replace(microsecond=0) + timedelta(days=request.valid_days),
            entries=tuple(each.members for each in would),
            inputs=tuple(each.given for each in would),
            emergency=request.emergency,
        )
        try:
            text = statement.text()
            parse_statement(text)  # an emergency that is none
        except ApprovalError as error:
            raise Refused(Code.INVALID, str(error)) from error
        return admin_pb2.PrepareApprovalResponse(
            statement=text,
            threshold=1 if request.emergency else would[0].asked.threshold,
            administrators=would[0].asked.names,
            namespace=namespace_of(self._deployment),
        )

    async def set_administrators(
        self, _caller: None, request: admin_pb2.SetAdministratorsRequest, /, *, preparing: bool = False
    ) -> admin_pb2.SetAdministratorsResponse:
        """Others are asked from now on."""
        text = request.administrators
        fields.size(text.encode(), "administrators", most=MAX_FILE)
        try:
            keys = parse_administrators(text, self._deployment)
            administrators = AdministratorSet(request.threshold, keys)
        except ApprovalError as error:
            raise Refused(Code.INVALID, str(error)) from error
        index = await self._store.set_administrators(
            administrators,
            self._clock(),
            by=fields.administrator_if_any(request.by),
            approval=approval_of(request, hashlib.sha256(text.encode()).digest(), preparing=preparing),
        )
        return admin_pb2.SetAdministratorsResponse(ledger_index=index)

    async def show_administrators(
        self, _caller: None, _request: admin_pb2.ShowAdministratorsRequest
    ) -> admin_pb2.ShowAdministratorsResponse:
        """Who is asked now."""
        asked = await self._store.administrators()
        return admin_pb2.ShowAdministratorsResponse(
            threshold=asked.threshold,
            keys=[
                admin_pb2.ShowAdministratorsResponse.Key(
                    administrator=each.name,
                    key=each.key.text,
                    fingerprint=each.key.fingerprint,
                    verify_required=each.verify_required,
                )
                for each in asked.keys
            ],
            namespace=namespace_of(self._deployment),
        )


async def _would(work: Action, request: Any) -> WouldAppend:
    try:
        await work(None, request, preparing=True)
    except WouldAppend as would:
        return would
    raise Fault("an action was done that was to be prepared alone")
