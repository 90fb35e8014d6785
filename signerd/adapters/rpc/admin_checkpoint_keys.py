"""The part of `AdminService` about the log's keys: which there are, and their succession."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.store import SqlStore
from signerd.core.checkpoint_keys import KeyState, LogKey, Reason, StepRefusedError
from signerd.core.entry import CheckpointKeyAdded
from signerd.core.note import VerifierKey
from signerd.errors import Code, Refused

MAX_RECIPIENTS = 8  # AddCheckpointKeyRequest
_DIGEST = 32  # bytes
_STATES = {
    KeyState.ANNOUNCED: admin_pb2.CHECKPOINT_KEY_STATE_ANNOUNCED,
    KeyState.SIGNING: admin_pb2.CHECKPOINT_KEY_STATE_SIGNING,
    KeyState.RETIRED: admin_pb2.CHECKPOINT_KEY_STATE_RETIRED,
}
_REASONS = {
    admin_pb2.CHECKPOINT_KEY_REASON_SUPERSEDED: Reason.SUPERSEDED,
    admin_pb2.CHECKPOINT_KEY_REASON_LOST: Reason.LOST,
    admin_pb2.CHECKPOINT_KEY_REASON_COMPROMISED: Reason.COMPROMISED,
}


class CheckpointKeyAdministration:
    """Every step is entered in the ledger, and in force once it is committed."""

    def __init__(
        self, *, store: SqlStore, serves: Callable[[VerifierKey], bool], clock: Callable[[], datetime]
    ) -> None:
        """`serves`: whether the running signerd can sign with this key."""
        self._store = store
        self._serves = serves
        self._clock = clock

    async def list_keys(
        self, _caller: None, _request: admin_pb2.ListCheckpointKeysRequest
    ) -> admin_pb2.ListCheckpointKeysResponse:
        """All of them, the oldest first."""
        keys = self._store.log_keys.keys
        return admin_pb2.ListCheckpointKeysResponse(keys=[self._message(key) for key in keys])

    async def add(
        self, _caller: None, request: admin_pb2.AddCheckpointKeyRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ChangeCheckpointKeyResponse:
        """Announces one. The entry comes before any setting acts on it."""
        if len(request.recipients) > MAX_RECIPIENTS or any(
            len(each) != _DIGEST for each in request.recipients
        ):
            raise fields.malformed(f"recipients are at most {MAX_RECIPIENTS} of {_DIGEST} bytes")
        recipients = tuple(request.recipients)
        entry = CheckpointKeyAdded(
            time=self._clock(),
            by=fields.administrator_if_any(request.by),
            vkey=request.vkey,
            place="sealed" if recipients else "token",
            recipients=recipients,
        )
        index = await self._store.add_checkpoint_key(entry, approval_of(request, None, preparing=preparing))
        return self._answer(request.vkey.split("+")[1], index)

    async def activate(
        self, _caller: None, request: admin_pb2.ActivateCheckpointKeyRequest
    ) -> admin_pb2.ChangeCheckpointKeyResponse:
        """From its entry on it signs. Whose key is announced was decided when it was added."""
        by, key = fields.administrator_if_any(request.by), self._named(request.key_id)
        if not self._serves(key.verifier):
            raise Refused(
                Code.INVALID,
                f"key {request.key_id} does not answer, so no checkpoint could be signed: see that the"
                " settings name its token ([[checkpoint_keys]]), and restart signerd",
            )
        index = await self._store.activate_checkpoint_key(request.key_id, self._clock(), by=by)
        return self._answer(request.key_id, index)

    async def retire(
        self, _caller: None, request: admin_pb2.RetireCheckpointKeyRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ChangeCheckpointKeyResponse:
        """From its entry on it signs nothing."""
        if request.reason not in _REASONS:
            raise fields.malformed("reason is unknown")
        by, key = fields.administrator_if_any(request.by), self._named(request.key_id)
        others = [
            each.verifier
            for each in self._store.log_keys.keys
            if each.state is KeyState.SIGNING and each != key
        ]
        silent = [other.key_id.hex() for other in others if not self._serves(other)]
        if silent:
            raise Refused(
                Code.INVALID,
                f"key {silent[0]}, which is to go on alone, does not answer: see that the settings name its"
                " token, and restart signerd",
            )
        approval = approval_of(request, None, preparing=preparing)
        index = await self._store.retire_checkpoint_key(
            request.key_id, _REASONS[request.reason], self._clock(), by=by, approval=approval
        )
        return self._answer(request.key_id, index)

    def _named(self, key_id: str) -> LogKey:
        try:
            return self._store.log_keys.named(key_id)
        except StepRefusedError as error:
            raise Refused(Code.NOT_FOUND, str(error)) from error

    def _answer(self, key_id: str, index: int) -> admin_pb2.ChangeCheckpointKeyResponse:
        return admin_pb2.ChangeCheckpointKeyResponse(
            key=self._message(self._named(key_id)), ledger_index=index
        )

    def _message(self, key: LogKey) -> admin_pb2.CheckpointKey:
        return admin_pb2.CheckpointKey(
            vkey=key.verifier.text(),
            key_id=key.verifier.key_id.hex(),
            state=_STATES[key.state],
            added_index=key.added,
            activated_index=key.activated,
            retired_index=key.retired,
            serving=self._serves(key.verifier),
        )
