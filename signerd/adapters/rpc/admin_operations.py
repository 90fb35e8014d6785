"""The part of `AdminService` about the operations CA's succession."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from cryptography import x509

from birthmark.v1 import admin_pb2
from signerd.adapters.operations_ca import digest
from signerd.adapters.rpc import fields
from signerd.adapters.store import Announcement, SqlStore, Step
from signerd.errors import Code, Refused

MAX_CERTIFICATE = 8192  # bytes, AnnounceOperationsCaRequest
_STEPS = {
    admin_pb2.OPERATIONS_CA_STEP_ADDED: Step.ADDED,
    admin_pb2.OPERATIONS_CA_STEP_ACTIVATED: Step.ACTIVATED,
    admin_pb2.OPERATIONS_CA_STEP_RETIRED: Step.RETIRED,
}

_NO_CA = "this is not a CA's certificate"


class OperationsAdministration:
    """Announces each step before the command takes it."""

    def __init__(
        self, *, store: SqlStore, clock: Callable[[], datetime], peers_seen: Callable[[], Awaitable[None]]
    ) -> None:
        """`peers_seen` returns once the registry has what peers showed until now."""
        self._store = store
        self._clock = clock
        self._peers_seen = peers_seen

    async def announce(
        self, _caller: None, request: admin_pb2.AnnounceOperationsCaRequest
    ) -> admin_pb2.AnnounceOperationsCaResponse:
        """Enters the step, unless peers would be cut off."""
        if request.step not in _STEPS:
            raise fields.malformed("step is unknown")
        der = fields.size(request.certificate_der, "certificate_der", least=1, most=MAX_CERTIFICATE)
        by, now = fields.administrator_if_any(request.by), self._clock()
        step = _STEPS[request.step]
        ca = _ca(der)
        if step is not Step.RETIRED and ca.not_valid_after_utc <= now:
            raise Refused(
                Code.INVALID, f"the CA's certificate ended at {ca.not_valid_after_utc}: make a new one"
            )
        await self._peers_seen()
        wanted = Announcement(step, digest(ca), ca.not_valid_after_utc, by, request.force)
        index, behind = await self._store.announce_operations_ca(wanted, now)
        return admin_pb2.AnnounceOperationsCaResponse(ledger_index=index, cut_off=behind)


def _ca(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise Refused(Code.INVALID, _NO_CA) from error
    if not is_ca:
        raise Refused(Code.INVALID, _NO_CA)
    return certificate
