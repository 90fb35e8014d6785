"""Who is let in: peers by certificate, registry, role and rate; administrators by the socket's directory.

The first step that says no decides the code. What a refusal may cost us is another question: it is recorded
only for a key that the registry holds as valid, and only within that key's rate. All others are told so and
counted (`Unrecorded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from signerd.adapters.mtls import PeerIdentities, PeerIdentity
from signerd.adapters.rate_limit import STRANGERS, Rate, RateLimiter
from signerd.adapters.rpc.gate import AuthContext, Open
from signerd.core.names import PeerName, Role
from signerd.errors import Code, Fault, Refused, Unrecorded
from signerd.ports import PeerRecord

ADMINISTRATOR = "administrator"
NO_KEY = b""  # callers whose certificate cannot be read, and administrators


class Registry(Protocol):
    """What admission asks of the store, at each call."""

    async def peer_of_key(self, spki_sha256: bytes) -> PeerRecord | None:
        """The peer that this public key was registered for, revoked or not."""
        ...


class PeerAdmission:
    """Stations and auditors: the certificate, then the registry, then the role, then the rate."""

    def __init__(
        self,
        *,
        identities: PeerIdentities,
        limiter: RateLimiter,
        strangers: RateLimiter,
        rates: Mapping[Role, Rate],
        registry: Registry,
        clock: Callable[[], datetime],
        saw_ca: Callable[[bytes, bytes], None] = lambda _key, _ca: None,
    ) -> None:
        """`strangers` counts keys that the registry does not know: they push no peer out of `limiter`.
        `saw_ca` is told of a peer that calls with a certificate of another operations CA than the registry
        has: its key's SHA-256, and the CA's."""
        self._identities = identities
        self._limiter = limiter
        self._strangers = strangers
        self._rates = rates
        self._registry = registry
        self._clock = clock
        self._saw_ca = saw_ca
        # Of each peer, the end of the certificate that it called with last: it may have a newer one that it
        # does not use yet. No larger than the registry.
        self.shown: dict[str, datetime] = {}

    def label(self, auth: AuthContext) -> str | None:
        """The URI that the operations CA put into the caller's certificate."""
        identity = self._identities.of(auth)
        return None if identity is None or identity.name is None else identity.name.uri

    def key(self, auth: AuthContext) -> bytes:
        """SHA-256 of the caller's public key, by which it is counted."""
        identity = self._identities.of(auth)
        return NO_KEY if identity is None else identity.spki_sha256

    async def admit(self, auth: AuthContext, role: Role | Open) -> PeerName:
        """Steps 1 to 4 of the gate.

        Raises:
            Unrecorded: `unauthenticated`, `peer_revoked`, `rate_limited`; `role_denied` over the rate; a
                fault's code if the registry does not answer.
            Refused: `role_denied` within it.
        """
        identity = self._identities.of(auth)
        if identity is None:
            raise Unrecorded(Code.UNAUTHENTICATED, "no certificate that can be read")
        name = await self._registered(identity)
        within = self._limiter.take(identity.spki_sha256, self._rates[name.role])
        if role is not Open.TO_PEERS and name.role is not role:
            kind = Refused if within else Unrecorded
            raise kind(Code.ROLE_DENIED, f"{name.role} may not make this call")
        if not within:
            raise Unrecorded(Code.RATE_LIMITED, "over the rate")
        return name

    async def admit_prober(self, auth: AuthContext) -> None:
        """Lets in who only asks how signerd is: peers, and keys that nobody registered yet, at their rate.

        Raises:
            Unrecorded: `unauthenticated`, `peer_revoked`, `rate_limited`.
        """
        try:
            await self.admit(auth, Open.TO_PEERS)
        except Unrecorded as refusal:
            identity = self._identities.of(auth)
            if identity is None or refusal.code is not Code.UNAUTHENTICATED:
                raise
            if not self._strangers.take(identity.spki_sha256, STRANGERS):
                raise Unrecorded(Code.RATE_LIMITED, "over the rate of strangers") from refusal

    async def _registered(self, identity: PeerIdentity) -> PeerName:
        if identity.name is None:
            raise Unrecorded(Code.UNAUTHENTICATED, "the certificate names no peer of this deployment")
        if not identity.valid_at(self._clock()):
            raise Unrecorded(Code.UNAUTHENTICATED, "the certificate is not valid now")
        try:
            record = await self._registry.peer_of_key(identity.spki_sha256)
        except Fault as fault:  # no rate is known, so whoever this is would decide how much we log
            raise Unrecorded(fault.code, fault.detail) from fault
        if record is None:
            raise Unrecorded(Code.UNAUTHENTICATED, "the key is not in the registry")
        if record.name.uri != identity.name.uri:
            raise Unrecorded(Code.UNAUTHENTICATED, f"the registry has the key for {record.name.uri}")
        if record.revoked_at is not None:
            raise Unrecorded(Code.PEER_REVOKED, "revoked")
        self.shown[identity.name.uri] = identity.not_after
        if identity.ca_sha256 is not None and identity.ca_sha256 != record.ca_sha256:
            self._saw_ca(identity.spki_sha256, identity.ca_sha256)
        return identity.name


class AdministratorAdmission:
    """Whoever can open the Unix socket is an administrator: its directory lets in nobody else."""

    def label(self, _auth: AuthContext) -> str:
        """Administrators have no names of their own."""
        return ADMINISTRATOR

    def key(self, _auth: AuthContext) -> bytes:
        """Nor keys."""
        return NO_KEY

    async def admit(self, _auth: AuthContext, _role: Role | Open) -> None:
        """Admits."""

    async def admit_prober(self, _auth: AuthContext) -> None:
        """Admits."""
