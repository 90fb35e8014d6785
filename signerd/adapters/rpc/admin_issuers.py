"""The part of `AdminService` about issuers: which there are, which of them issues, and their CRLs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2
from signerd.adapters import device_ca
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.store import SqlStore
from signerd.core.crl import build_crl
from signerd.core.entry import IssuerAdded
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.issuing_chain import MAX_CHAIN
from signerd.core.names import FIRST
from signerd.core.profile import Issuer
from signerd.errors import Code, ConfigError, Refused
from signerd.issuers import Issuers

MAX_CRL_HOURS = 8784  # MakeCrlRequest
MAX_CERTIFICATE = 8192  # bytes, AddIssuerRequest
_STATES = {
    IssuerState.STANDBY: admin_pb2.ISSUER_STATE_STANDBY,
    IssuerState.ACTIVE: admin_pb2.ISSUER_STATE_ACTIVE,
    IssuerState.RETIRED: admin_pb2.ISSUER_STATE_RETIRED,
}


class IssuerAdministration:
    """Every change is entered in the ledger, and in force once it is committed."""

    def __init__(self, *, store: SqlStore, issuers: Issuers, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._issuers = issuers
        self._clock = clock

    async def list_issuers(
        self, _caller: None, _request: admin_pb2.ListIssuersRequest
    ) -> admin_pb2.ListIssuersResponse:
        """All of them."""
        await self._issuers.refresh()
        return admin_pb2.ListIssuersResponse(issuers=[self._message(each) for each in self._issuers.records])

    async def add_issuer(
        self, _caller: None, request: admin_pb2.AddIssuerRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ChangeIssuerResponse:
        """Announces one. The entry comes before any setting acts on it."""
        name, ca = fields.name(request.name, "name"), fields.name(request.ca, "ca")
        by = fields.administrator_if_any(request.by)
        now = self._clock()
        certificate, root = _checked(list(request.chain_der), request.root_der, now)
        entry = IssuerAdded(
            time=now,
            by=by,
            issuer=name,
            ca=ca,
            certificate_sha256=_sha256(certificate),
            root_sha256=_sha256(root),
            not_after=certificate.not_valid_after_utc,
        )
        record = await self._store.add_issuer(entry, approval_of(request, None, preparing=preparing))
        return await self._answer(record, record.added_index)

    async def activate_issuer(
        self, _caller: None, request: admin_pb2.ChangeIssuerRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ChangeIssuerResponse:
        """From its entry on it issues. A certificate that is being signed by the one before is made anew."""
        by = fields.administrator_if_any(request.by)
        await self._issuers.refresh()
        if not self._issuers.serves(self._issuers.named(request.name)):
            raise Refused(
                Code.INVALID,
                f"the key of issuer {request.name} does not answer, so no board could be certified: see that"
                " the settings name its token (issuers.hsm), and restart signerd",
            )
        approval = approval_of(request, None, preparing=preparing)
        record, index = await self._store.activate_issuer(
            request.name, self._clock(), by=by, approval=approval
        )
        return await self._answer(record, index)

    async def retire_issuer(
        self, _caller: None, request: admin_pb2.ChangeIssuerRequest, /, *, preparing: bool = False
    ) -> admin_pb2.ChangeIssuerResponse:
        """It never issues again."""
        by = fields.administrator_if_any(request.by)
        approval = approval_of(request, None, preparing=preparing)
        record, index = await self._store.retire_issuer(request.name, self._clock(), by=by, approval=approval)
        return await self._answer(record, index)

    async def make_crl(self, _caller: None, request: admin_pb2.MakeCrlRequest) -> admin_pb2.MakeCrlResponse:
        """A complete CRL. A crash after the signature leaves one that nobody was given, and a gap."""
        if not 1 <= request.next_update_h <= MAX_CRL_HOURS:
            raise fields.malformed(f"next_update_h is not 1 to {MAX_CRL_HOURS}")
        by = fields.administrator_if_any(request.by)
        now = self._clock().replace(microsecond=0)
        next_update = now + timedelta(hours=request.next_update_h)
        issuer = self._issuers.whole(request.issuer or FIRST)
        key_holder = issuer.key_holder
        # The number first: of two CRLs at once, the one with the higher number never knows less.
        number = await self._store.allot_crl_number()
        revoked = await self._store.revoked_certificates(self._issuers.in_crl_of(issuer))
        unsigned = await asyncio.to_thread(
            build_crl, revoked, issuer=issuer.issuer, number=number, this_update=now, next_update=next_update
        )
        crl = unsigned.signed(await key_holder.sign_crl(unsigned.tbs))
        index = await self._store.record_crl(
            number=number,
            crl_sha256=hashlib.sha256(crl).digest(),
            next_update=next_update,
            count=len(revoked),
            now=now,
            by=by,
            issuer=issuer.record.name,
        )
        return admin_pb2.MakeCrlResponse(crl_der=crl, ledger_index=index)

    async def _answer(self, record: IssuerRecord, index: int) -> admin_pb2.ChangeIssuerResponse:
        await self._issuers.refresh()
        return admin_pb2.ChangeIssuerResponse(issuer=self._message(record), ledger_index=index)

    def _message(self, record: IssuerRecord) -> admin_pb2.Issuer:
        certificate = self._issuers.certificate(record)
        return admin_pb2.Issuer(
            name=record.name,
            ca=record.ca,
            state=_STATES[record.state],
            certificate_sha256=record.certificate_sha256,
            root_sha256=record.root_sha256,
            added_index=record.added_index,
            serving=self._issuers.serves(record),
            not_after=None if certificate is None else fields.timestamp(certificate.not_valid_after_utc),
        )


def _checked(
    chain_der: list[bytes], root_der: bytes, now: datetime
) -> tuple[x509.Certificate, x509.Certificate]:
    """The sub-CA and the root, once the one is a sub-CA as at `init`, and relying parties follow the chain.
    Raises Refused `invalid`."""
    if not 1 <= len(chain_der) <= MAX_CHAIN:
        raise fields.malformed(f"chain_der has {len(chain_der)} certificates, 1 to {MAX_CHAIN}")
    try:
        *chain, root = [
            x509.load_der_x509_certificate(fields.size(der, "a certificate", least=1, most=MAX_CERTIFICATE))
            for der in (*chain_der, root_der)
        ]
        problems = device_ca.check_sub_ca(chain, root, now)
        Issuer.of(chain, root=root)
    except (ValueError, ConfigError) as error:
        raise Refused(Code.INVALID, f"this chain cannot issue: {error}") from error
    if problems:
        raise Refused(
            Code.INVALID, "\n".join(["the issuer's certificate or its chain is not usable:", *problems])
        )
    return chain[0], root


def _sha256(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
