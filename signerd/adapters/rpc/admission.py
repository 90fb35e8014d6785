"""Who is let in: peers by certificate, rate and registry; administrators by the socket's directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from signerd.adapters.mtls import PeerIdentities, PeerIdentity
from signerd.adapters.rate_limit import STRANGERS, Rate, RateLimiter
from signerd.adapters.rpc.gate import AuthContext
from signerd.core.names import PeerName, Role
from signerd.errors import Code, Refused
from signerd.ports import PeerRecord

ADMINISTRATOR = "administrator"


class Registry(Protocol):
    """What admission asks of the store."""

    async def peer_of_key(self, spki_sha256: bytes) -> PeerRecord | None:
        """The peer that this public key was registered for, revoked or not."""
        ...


class PeerAdmission:
    """Stations and auditors: the certificate, then the rate, then the registry, then the role."""

    def __init__(
        self,
        *,
        identities: PeerIdentities,
        limiter: RateLimiter,
        rates: Mapping[Role, Rate],
        registry: Registry,
        clock: Callable[[], datetime],
    ) -> None:
        self._identities = identities
        self._limiter = limiter
        self._rates = rates
        self._registry = registry
        self._clock = clock

    def label(self, auth: AuthContext) -> str | None:
        """The URI that the operations CA put into the caller's certificate."""
        identity = self._identities.of(auth)
        return None if identity is None or identity.name is None else identity.name.uri

    async def admit(self, auth: AuthContext, role: Role | None) -> PeerName:
        """Steps 1 to 4 of the gate. A `role` of None admits every registered peer.

        Raises:
            Refused: `unauthenticated`, `rate_limited`, `peer_revoked`, `role_denied`.
        """
        identity = self._identities.of(auth)
        if identity is None:
            raise Refused(Code.UNAUTHENTICATED, "no certificate that can be read")
        rate = STRANGERS if identity.name is None else self._rates[identity.name.role]
        if not self._limiter.take(identity.spki_sha256, rate):
            raise Refused(Code.RATE_LIMITED, "over the rate")
        try:
            name = await self._registered(identity)
        except Refused as refusal:
            if refusal.code is Code.UNAUTHENTICATED:
                self._limiter.mark(identity.spki_sha256, stranger=True)
            raise
        self._limiter.mark(identity.spki_sha256, stranger=False)
        if role is not None and name.role is not role:
            raise Refused(Code.ROLE_DENIED, f"the call is for a {role}")
        return name

    async def _registered(self, identity: PeerIdentity) -> PeerName:
        if identity.name is None:
            raise Refused(Code.UNAUTHENTICATED, "the certificate names no peer of this deployment")
        if not identity.valid_at(self._clock()):
            raise Refused(Code.UNAUTHENTICATED, "the certificate is not valid now")
        record = await self._registry.peer_of_key(identity.spki_sha256)
        if record is None:
            raise Refused(Code.UNAUTHENTICATED, "the key is not in the registry")
        if record.name.uri != identity.name.uri:
            raise Refused(Code.UNAUTHENTICATED, f"the registry has the key for {record.name.uri}")
        if record.revoked_at is not None:
            raise Refused(Code.PEER_REVOKED, "revoked")
        return identity.name


class AdministratorAdmission:
    """Whoever can open the Unix socket is an administrator: its directory lets in nobody else."""

    def label(self, _auth: AuthContext) -> str:
        """Administrators have no names of their own."""
        return ADMINISTRATOR

    async def admit(self, _auth: AuthContext, _role: Role | None) -> None:
        """Admits."""
