"""Issuance: the order of the twelve steps, which is the security property.

A certificate exists only for a key whose request carried evidence of the level that the work order demands,
over that very request, fresh for this session, by a chip that was not used before.

Steps of `sign_csr` (the design's numbering):

     1  the station: known, not revoked, allowed on this work order (its rate is the edge's business)
     2  the session: sealed by us, unexpired, this station's; single use
     3  the CSR: form, self-signature, key; of it only the public key goes further
     4  the evidence, over the transcript: a level and claims
     5  policy: level, firmware, window
     6  ┐ one transaction: the place, kept unique by constraints;
     7  │ the to-be-signed certificate, a pure function, linted;
     8  ┘ the intent, durable
     9  the key holder signs exactly those bytes, after its own look
    10  the signature is verified with the CA's public key
    11  certificate and ledger entry, durable, in one transaction
    12  the answer

The edge runs each call as a task of its own (`adapters/rpc/gate.py`), so that from step 6 on the work goes on
when the caller's deadline passes or its line is cut.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature

from signerd.core.csr import VerifiedCsr, check_csr
from signerd.core.evidence import METHODS, methods_with
from signerd.core.evidence.errors import ClaimsError
from signerd.core.evidence.method import (
    Entered,
    EvidenceError,
    EvidenceSubmission,
    IdentityKey,
    Origin,
    Trust,
    VerifiedEvidence,
)
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.key_policy import QualityLater, WeakKeyError
from signerd.core.leaf import Leaf
from signerd.core.names import KeyType, Level, PeerName, Reissue
from signerd.core.order import Place, WorkOrder
from signerd.core.policy import (
    check_firmware,
    check_level,
    check_listed,
    check_open,
    least_firmware,
    listed_as,
    lists_name,
)
from signerd.core.prepared import PreparedCertificate, lint
from signerd.core.product import Product, parse_product
from signerd.core.profile import Issuer, build_tbs, terms_of
from signerd.core.session import CHALLENGE_BYTES, Session, SessionSealer, session_sha256
from signerd.core.settings import with_serial
from signerd.errors import Code, Fault, IssuerChanged, Refused
from signerd.issuers import Issuers
from signerd.ports import (
    CallContext,
    Chip,
    Grant,
    IntentRequest,
    KeyHolder,
    KeyQuality,
    LedgerPosition,
    PeerRecord,
    PreparedBytes,
    Record,
    RecordState,
    Store,
)

_SERIAL_BITS = 152  # random, well over the 64 bits of CA/B Forum BR §7.1; with the top bit set: 20 octets


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """The answer of `open_session`."""

    session: bytes
    challenge: bytes
    expires_at: datetime
    key_types: tuple[KeyType, ...]
    methods: tuple[str, ...]
    level: Level
    minimum_firmware: Mapping[str, str]
    required_locks: tuple[str, ...]
    bundle_sha256: bytes | None  # of the firmware bundle that the order names


@dataclass(frozen=True, slots=True)
class IssuedAnswer:
    """The answer of `sign_csr`: the certificate's record, its chain, and its place in the ledger."""

    record: Record
    chain: tuple[bytes, ...]
    position: LedgerPosition

    @property
    def stamped(self) -> bool:
        """True if nothing is left to do for this board."""
        return self.record.state is RecordState.STAMPED


class Issuance:
    """Opens sessions and signs CSRs. One for each signerd."""

    def __init__(
        self,
        *,
        store: Store,
        key_holder: KeyHolder,
        key_quality: KeyQuality,
        issuers: Issuers,
        sealer: SessionSealer,
        session_lifetime: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`key_holder` answers for chips' keys; those that sign are the issuers'. `clock` gives aware UTC
        moments."""
        self._store = store
        self._key_holder = key_holder
        self._key_quality = key_quality
        self._issuers = issuers
        self._sealer = sealer
        self.session_lifetime = session_lifetime
        self._clock = clock

    async def open_session(self, peer: PeerName, work_order: str, chip_id: str) -> OpenedSession:
        """Opens a session; it reserves nothing. Refuses early what `sign_csr` would refuse later.

        Raises:
            Refused: of steps 1 and 5 what can be said before there is evidence: of this order alone, and
                whether the chip is known at all.
        """
        now = self._clock()
        context = await self._store.call_context(
            peer_uri=peer.uri, work_order=work_order, chip_id=chip_id, session_sha256=None
        )
        order, product = self._order(context, peer)
        check_open(order, closed=context.order_closed, now=now)
        await self._check_chip(chip_id, context.chip, product, order)
        # There is no evidence yet: what other orders did with this chip is told after step 4 alone.
        if context.revoked_here and order.reissue is Reissue.NEVER:
            raise Refused(Code.CERTIFICATE_REVOKED, f"the certificate of chip {chip_id} is revoked")
        _check_room(context, order, product)
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        expires_at = (now + self.session_lifetime).replace(microsecond=0)
        return OpenedSession(
            session=self._sealer.seal(Session(peer.uri, work_order, chip_id, challenge, expires_at)),
            challenge=challenge,
            expires_at=expires_at,
            key_types=product.keys.accept,
            methods=product.evidence.methods,
            level=order.level,
            minimum_firmware=least_firmware(order, product.evidence),
            required_locks=product.stamp.required_locks,
            bundle_sha256=None if order.bundle is None else order.bundle.sha256,
        )

    async def issuer_for(self, peer: PeerName, work_order: str) -> Issuer:
        """Who issues for this order now, if this station may work on it. Reserves and records nothing.

        Raises:
            Refused: what `open_session` would refuse each new chip of the order with.
            Unavailable: no issuer is active.
        """
        context = await self._store.call_context(
            peer_uri=peer.uri, work_order=work_order, chip_id="", session_sha256=None
        )
        order, product = self._order(context, peer)
        check_open(order, closed=context.order_closed, now=self._clock())
        _check_room(context, order, product)
        return self._issuers.active(product.certificate.ca).issuer

    async def sign_csr(
        self,
        peer: PeerName,
        sealed: bytes,
        csr_der: bytes,
        submission: EvidenceSubmission,
        *,
        agent: str | None = None,
    ) -> IssuedAnswer:
        """The twelve steps. The same chip and key get the same certificate again.

        Args:
            peer: the station, as its certificate names it.
            sealed: the session, as `open_session` gave it.
            csr_der: as the board made it.
            submission: the evidence, as the board made it.
            agent: the version that the station's agent states of itself, for the ledger alone.

        Raises:
            Refused: with the code of the step that refused.
            Busy: too much waits for the token; the same call may pass later.
            Fault: ours; after step 8 the intent stays, and a retry resumes it.
        """
        now = self._clock()
        digest = session_sha256(sealed)
        session = self._sealer.open(sealed)
        context = await self._store.call_context(
            peer_uri=peer.uri,
            work_order=session.work_order if session else "",
            chip_id=session.chip_id if session else "",
            session_sha256=digest,
        )
        # 1. The station.
        station = _check_station(context, peer)
        # 2. The session. One that led to a certificate is answered as before, for the same CSR alone.
        if context.grant is not None and context.granted is not None:
            return await self._again(peer, context.grant, context.granted, csr_der)
        if session is None or session.peer != peer.uri or now >= session.expires_at:
            raise Refused(
                Code.SESSION_UNKNOWN,
                "the session has expired, is another station's, or is not one of this signerd: the station"
                " opens a new one",
            )
        order, product = self._order(context, peer)
        # Before anything is done that would have to wait.
        self._issuers.active(product.certificate.ca).parts.demand_room()
        # 3. The CSR.
        later = QualityLater()
        csr = check_csr(csr_der, accepted=product.keys.accept, quality=later.check)
        await self._check_quality(later, station, Code.KEY_REJECTED)
        # 4. The evidence.
        later = QualityLater()
        evidence = await self._verify_evidence(submission, session, csr, context.chip, product, now, later)
        await self._check_quality(later, station, Code.EVIDENCE_REJECTED)
        # 5. Policy. The window is looked at again inside the transaction, with quantity and uniqueness.
        check_open(order, closed=context.order_closed, now=now)
        check_level(evidence, order)
        check_firmware(evidence.versions, least_firmware(order, product.evidence))
        on_list = context.chip is not None and context.chip.listed
        by_name = lists_name(evidence, product.evidence, listed=on_list)
        lines = listed_as(evidence, product.evidence, by_name=by_name)
        # 6 to 11.
        intent = IntentRequest(
            order=order,
            chip_id=session.chip_id,
            spki_sha256=csr.spki_sha256,
            session_sha256=digest,
            challenge=session.challenge,
            station=peer.uri,
            csr_der=csr.der,
            method=evidence.method,
            claims=submission.claims,
            evidence=evidence.evidence,
            level=evidence.level,
            measured=evidence.measured,
            attester=evidence.attester,
            certificate_serial=(1 << _SERIAL_BITS) | secrets.randbits(_SERIAL_BITS),
            moment=now.replace(microsecond=0),
            anchors=tuple(sorted(set(evidence.anchors))),  # as they are read back
            name_is_label=evidence.name_is_label and not by_name,
            agent=agent,
            listed_as=lines,
        )
        record = await self._issue(intent, csr, context.product_toml or "")
        # 12. The answer.
        return await self._answer(record)

    async def _check_quality(self, later: QualityLater, station: PeerRecord, code: Code) -> None:
        """The part of steps 3 and 4 that takes long, on the station's account."""
        try:
            await self._key_quality.check(later.keys, station.spki_sha256)
        except WeakKeyError as error:
            raise Refused(code, f"a key is weak: {error}") from error

    async def _issue(self, intent: IntentRequest, csr: VerifiedCsr, product_toml: str) -> Record:
        """Steps 6 to 11, once more where another issuer takes over meanwhile: the place stays, and what was
        signed for it is never handed out (`core.issuers`)."""
        try:
            return await self._issue_once(intent, csr, product_toml)
        except IssuerChanged:
            await self._issuers.refresh()
            return await self._issue_once(intent, csr, product_toml)

    async def _issue_once(self, asked: IntentRequest, csr: VerifiedCsr, product_toml: str) -> Record:
        product = parse_product(product_toml)
        by = self._issuers.active(product.certificate.ca)
        issuer, intent = by.issuer, replace(asked, issuer_id=by.record.issuer_id)
        linted: dict[bytes, PreparedCertificate] = {}
        stated = EvidenceStatement.about(intent.level, intent.method, intent.evidence)

        def prepare(place: Place) -> PreparedBytes:
            # 7. The to-be-signed certificate, linted before it becomes durable.
            try:
                terms = terms_of(product, place, csr.key, issuer, stated)
                tbs = build_tbs(terms, place, csr.key, issuer)
            except ValueError as error:
                raise _profile_fails(product, place, error) from error
            linted[tbs] = lint(tbs, terms=terms, place=place, spki=csr.spki, issuer=issuer)
            return PreparedBytes(tbs, with_serial(intent.order.settings, place.serial_number))

        # 6 to 8. A crash before the commit leaves nothing; after it an intent that a retry resumes.
        record = await self._store.take_place(intent, prepare)
        grant = Grant(
            session_sha256=intent.session_sha256,
            record_id=record.record_id,
            challenge=intent.challenge,
            station=intent.station,
            csr_sha256=csr.sha256,
        )
        certificate_der = record.certificate_der
        if not certificate_der:
            prepared = linted.get(record.tbs) or _resumed(record, csr, product, issuer)
            # What the certificate says of evidence is what the intent rests on: a retry's is not recorded.
            rests_on = EvidenceStatement.about(record.level, record.method, record.evidence)
            leaf = Leaf(record.place, rests_on, intent.order.product_sha256, product_toml=product_toml)
            # 9. The key holder signs.
            try:
                signature = await by.key_holder.sign_certificate(prepared.take(), leaf)
            except Fault:
                self._clock()  # the key holder looks at the time too: a step meanwhile is the reason
                raise
            # 10. Verified with the CA's public key.
            _verify(signature, prepared.tbs, issuer)
            certificate_der = prepared.certificate(signature)
        # 11. Certificate and ledger entry. A crash before the commit leaves the intent.
        return await self._store.complete(record, certificate_der, grant, self._clock(), agent=intent.agent)

    async def _again(self, peer: PeerName, grant: Grant, record: Record, csr_der: bytes) -> IssuedAnswer:
        """Answers a session that led to a certificate: a lost answer is harmless."""
        if grant.station != peer.uri:
            raise Refused(Code.SESSION_UNKNOWN, "another station's session")
        if grant.csr_sha256 != hashlib.sha256(csr_der).digest():
            raise Refused(
                Code.SESSION_USED, f"the session was used for record {record.record_id}, with another CSR"
            )
        if record.state is RecordState.REVOKED:
            raise Refused(Code.CERTIFICATE_REVOKED, f"record {record.record_id} is revoked")
        return await self._answer(record)

    async def _answer(self, record: Record) -> IssuedAnswer:
        if record.issued_index is None:
            raise Fault(f"record {record.record_id} was completed without a ledger entry")
        position = await self._store.published(record.issued_index)
        return IssuedAnswer(record, self._issuers.of(record.issuer_id).issuer.chain, position)

    async def _verify_evidence(
        self,
        submission: EvidenceSubmission,
        session: Session,
        csr: VerifiedCsr,
        chip: Chip | None,
        product: Product,
        now: datetime,
        later: QualityLater,
    ) -> VerifiedEvidence:
        trust = Trust(
            personalized=chip is not None and chip.personalized,
            locked=chip is not None and chip.locked,
            listed=chip is not None and chip.listed,
            identity=await self._identity(product, submission.method, session.chip_id),
            rules=product.evidence,
        )
        try:
            return await verify_evidence(
                submission,
                methods=METHODS,
                challenge=session.challenge,
                chip_id=session.chip_id,
                csr=csr,
                trust=trust,
                now=now,
                check_mac=self._key_holder.check_chip_mac,
                quality=later.check,
            )
        except ClaimsError as error:
            raise Refused(Code.REQUEST_MALFORMED, str(error)) from error
        except EvidenceError as error:
            raise Refused(Code.EVIDENCE_REJECTED, str(error)) from error

    async def _identity(self, product: Product, method: str, chip_id: str) -> IdentityKey | None:
        if method not in methods_with(Entered.IMPORTED) or method not in product.evidence.methods:
            return None
        return await self._store.identity(product=product.name, method=method, chip_id=chip_id)

    async def _check_chip(self, chip_id: str, chip: Chip | None, product: Product, order: WorkOrder) -> None:
        """Refuses a chip that no method of the product could speak for at the order's level."""
        rules = product.evidence
        if rules.chip_ids is not None and not rules.chip_ids.matches(chip_id):
            raise Refused(
                Code.CHIP_UNKNOWN, f"the chip id is not of the product's form, {rules.chip_ids.text}"
            )
        check_listed(rules, listed=chip is not None and chip.listed)
        if (
            chip is not None
            and chip.personalized
            and methods_with(Entered.PERSONALIZED).intersection(rules.methods)
        ):
            return
        if chip is not None and chip.listed and "none" in rules.methods and order.level is Level.NONE:
            return
        if named_by_certificate(rules):
            return
        for method in rules.methods:
            if await self._identity(product, method, chip_id) is not None:
                return
        raise Refused(
            Code.CHIP_UNKNOWN,
            "the chip is not personalized, and no key of it is imported for a method of the product",
        )

    @staticmethod
    def _order(context: CallContext, peer: PeerName) -> tuple[WorkOrder, Product]:
        """The order, if this station may work on it. Others cannot tell it from one that does not exist."""
        order = context.order
        if order is None or context.product_toml is None or peer.uri not in order.stations:
            raise Refused(Code.ORDER_UNKNOWN, "there is no such work order, or this station is not in it")
        return order, parse_product(context.product_toml)


def _check_room(context: CallContext, order: WorkOrder, product: Product) -> None:
    """A chip that has its place already may come back to a full order, also under another name."""
    full = context.places_taken >= order.quantity and not context.has_place
    if full and not named_by_certificate(product.evidence):
        raise Refused(Code.ORDER_FULL, f"all {order.quantity} places of {order.work_order} are taken")


def _resumed(record: Record, csr: VerifiedCsr, product: Product, issuer: Issuer) -> PreparedCertificate:
    """The durable bytes of an intent that a crash left open, through the linter again."""
    # What the certificate says of evidence is what the intent rests on: this retry's is not recorded.
    stated = EvidenceStatement.about(record.level, record.method, record.evidence)
    try:
        terms = terms_of(product, record.place, csr.key, issuer, stated)
    except ValueError as error:  # the settings' bounds, or the sub-CA, are others than when it was made
        raise _profile_fails(product, record.place, error) from error
    return lint(record.tbs, terms=terms, place=record.place, spki=csr.spki, issuer=issuer)


def _verify(signature: bytes, tbs: bytes, issuer: Issuer) -> None:
    try:
        issuer.algorithm.verify(issuer.key, signature, tbs)
    except InvalidSignature as error:
        raise Fault("the key holder's signature does not verify with the sub-CA's certificate") from error


def _profile_fails(product: Product, place: Place, error: ValueError) -> Fault:
    """Ours, not the station's: the rehearsal of the order should have found it."""
    return Fault(
        f"the profile of {product.name} gives chip {place.chip_id} no certificate: {error}",
        code=Code.PROFILE_FAILS,
    )


def named_by_certificate(rules: EvidenceRules) -> bool:
    """True where a vendor's certificate may say which chip it is: before it is shown, the chip's name is the
    station's word, and what a layer of firmware states changes with the firmware (DICE)."""
    return any(METHODS[name].traits.origin(rules) is Origin.VENDOR for name in rules.methods)


def _check_station(context: CallContext, peer: PeerName) -> PeerRecord:
    if context.peer is None:
        raise Refused(Code.UNAUTHENTICATED, "the station is not in the registry")
    if context.peer.revoked_at is not None:
        raise Refused(Code.PEER_REVOKED, f"{peer.uri} was revoked at {context.peer.revoked_at}")
    return context.peer
