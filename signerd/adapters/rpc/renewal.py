"""`RenewalService`: a newer certificate for the key that a peer calls with.

What this guarantees: the request says nothing, so nobody gets another name, another key or a longer life by
it. Name and key are those of the certificate that TLS checked, and the gate asked the registry about; the
life is that of every peer's certificate. A peer gets one newer certificate a period, the same one however
often it asks, in the last third of its life or where it is of an older operations CA. By default it waits for
an administrator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from birthmark.v1 import renewal_pb2 as pb
from signerd.adapters.mtls import PeerIdentities, PeerIdentity, TrustedCas
from signerd.adapters.operations_ca import OperationsCa, certify_peer, digest, issuer_of
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admission import PeerAdmission
from signerd.adapters.rpc.gate import AuthContext, Call, Gate, Open
from signerd.adapters.store import RenewalRequest, SqlStore
from signerd.core.names import PeerName, Role
from signerd.errors import Code, ConfigError, Refused

SERVICE = "birthmark.v1.RenewalService"
CALLS = 8  # at work at a time: they hold up no board

_log = structlog.get_logger(__name__)


class IdentifiedAdmission:
    """The admission of peers; what is admitted is the certificate that was shown."""

    def __init__(self, admission: PeerAdmission, identities: PeerIdentities) -> None:
        self._admission = admission
        self._identities = identities
        self.label, self.key = admission.label, admission.key
        self.admit_prober = admission.admit_prober

    async def admit(self, auth: AuthContext, role: Role | Open) -> tuple[PeerName, PeerIdentity]:
        """As `PeerAdmission.admit`."""
        name = await self._admission.admit(auth, role)
        identity = self._identities.of(auth)
        if identity is None:  # it was admitted by it
            raise Refused(Code.UNAUTHENTICATED, "no certificate that can be read")
        return name, identity


Caller = tuple[PeerName, PeerIdentity]


class RenewalService:
    """The one call. `load_ca` reads the CA that certifies peers; ConfigError where its key is not here."""

    def __init__(
        self,
        *,
        store: SqlStore,
        cas: TrustedCas,
        load_ca: Callable[[], OperationsCa],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cas = cas
        self._load_ca = load_ca
        self._clock = clock
        self._turn = asyncio.Lock()  # of two calls at once, one makes the certificate and both get it

    def handler(self, gate: Gate[Caller]) -> grpc.GenericRpcHandler[Any, Any]:
        """The service behind the gate."""
        call = Call("RenewCertificate", pb.RenewCertificateRequest, self.renew)
        return grpc.method_handlers_generic_handler(SERVICE, {call.name: gate.unary(call)})

    async def renew(
        self, caller: Caller, _request: pb.RenewCertificateRequest
    ) -> pb.RenewCertificateResponse:
        """In this order: is it due, is one made already, may one be made without an administrator."""
        name, shown = caller
        now, due_at = self._clock(), _due_at(shown)
        if now < due_at and shown.ca_sha256 == digest(self._cas.certificates[-1]):
            return self._answer(pb.RENEWAL_STATE_NOT_DUE, due_at)
        request = RenewalRequest(name, shown.spki_sha256, shown.spki)
        async with self._turn:
            asked = await self._store.renewal_of(request)
            if not asked.newest:
                return self._answer(pb.RENEWAL_STATE_NOT_DUE, due_at)
            if asked.certificate is not None and self._serves(asked.certificate, shown):
                return self._answer(pb.RENEWAL_STATE_DONE, due_at, asked.certificate)
            made = await self._made(request, now) if asked.automatic else None
            if made is not None:
                return self._answer(pb.RENEWAL_STATE_DONE, due_at, made)
            if await self._store.ask_renewal(request, now):
                _log.info("renewal_asked", peer=name.uri, remedy=f"signerd {name.role} approve {name.uri}")
        return self._answer(pb.RENEWAL_STATE_PENDING, due_at)

    async def _made(self, request: RenewalRequest, now: datetime) -> bytes | None:
        """None where the CA's key is not here: an administrator brings the certificate."""
        try:
            ca = await asyncio.to_thread(self._load_ca)
            certificate = certify_peer(_p256(request.spki), request.name, ca, now.replace(microsecond=0))
        except ConfigError as error:
            _log.warning("not_renewed", peer=request.name.uri, detail=str(error))
            return None
        der = certificate.public_bytes(Encoding.DER)
        await self._store.renew_by_itself(request, der, certificate.not_valid_after_utc, now)
        _log.info("renewed", peer=request.name.uri, until=f"{certificate.not_valid_after_utc:%Y-%m-%d}")
        return der

    def _serves(self, der: bytes, shown: PeerIdentity) -> bool:
        """Whether the last one that was made is newer than the one that was shown."""
        certificate = x509.load_der_x509_certificate(der)
        newest = self._cas.certificates[-1]
        moves = shown.ca_sha256 != digest(newest) and issuer_of(certificate, [newest]) is not None
        lives = issuer_of(certificate, self._cas.certificates) is not None
        return lives and (moves or certificate.not_valid_after_utc > shown.not_after)

    def _answer(
        self, state: pb.RenewalState.ValueType, due_at: datetime, certificate: bytes = b""
    ) -> pb.RenewCertificateResponse:
        return pb.RenewCertificateResponse(
            state=state,
            certificate_der=certificate,
            ca_der=[ca.public_bytes(Encoding.DER) for ca in self._cas.certificates],
            due_at=fields.timestamp(due_at),
        )


def _due_at(shown: PeerIdentity) -> datetime:
    """The last third of its life."""
    return shown.not_before + (shown.not_after - shown.not_before) * 2 / 3


def _p256(spki: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the key must be P-256: make the request with `enroll`")
    return key
