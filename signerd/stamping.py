"""Stamping: the board's last word, checked against what was issued and recorded once.

Steps of `record_stamp`:

    1  the session led to a certificate, and is this station's; it never expires for this call
    2  the certificate is not revoked
    3  the stamp is signed with the certified key
    4  each of its fields is what was issued in this session
    5  firmware and locks are as the work order and its product demand
    6  stamp and ledger entry, durable, in one transaction; the same stamp again is answered as before
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography import x509

from signerd.core.key_policy import PublicKey
from signerd.core.names import PeerName
from signerd.core.policy import check_bundle, check_firmware, least_firmware
from signerd.core.product import parse_product
from signerd.core.session import session_sha256
from signerd.core.stamp import IssuedBoard, Stamp, StampError, check_agrees, check_signature, parse_stamp
from signerd.errors import Code, Fault, Refused
from signerd.ports import CallContext, Grant, LedgerPosition, Record, RecordState, Store


class Stamping:
    """Records stamps. One for each signerd."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        """`clock` gives aware UTC moments."""
        self._store = store
        self._clock = clock

    async def record_stamp(
        self, peer: PeerName, sealed: bytes, stamp: bytes, signature: bytes
    ) -> LedgerPosition:
        """Records a stamp, or answers one that is recorded as before.

        Args:
            peer: the station, as its certificate names it.
            sealed: the session in which the certificate was handed out.
            stamp: as the board made it.
            signature: the board's, over `stamp`.

        Raises:
            Refused: `session_unknown`, `certificate_revoked`, `stamp_rejected`, `firmware_too_old`,
                `firmware_differs`, `stamp_locks_open`, `stamp_conflict`.
        """
        # 1. The session.
        context = await self._store.call_context(
            peer_uri=peer.uri, work_order="", chip_id="", session_sha256=session_sha256(sealed)
        )
        grant, record = context.grant, context.granted
        if grant is None or record is None or grant.station != peer.uri:
            raise Refused(Code.SESSION_UNKNOWN, "this station was given no certificate in this session")
        # 2. The certificate.
        if record.state is RecordState.REVOKED:
            raise Refused(Code.CERTIFICATE_REVOKED, f"record {record.record_id} is revoked")
        # 3 and 4. Signature and fields.
        said = _read(record, grant, stamp, signature)
        # 5. What the order demands.
        await self._check_demands(peer, record, said)
        # 6. Once.
        record = await self._store.record_stamp(
            record, stamp=stamp, signature=signature, station=peer.uri, now=self._clock()
        )
        if record.stamped_index is None:
            raise Fault(f"record {record.record_id} was stamped without a ledger entry")
        return await self._store.published(record.stamped_index)

    async def _check_demands(self, peer: PeerName, record: Record, said: Stamp) -> None:
        context: CallContext = await self._store.call_context(
            peer_uri=peer.uri,
            work_order=record.place.work_order,
            chip_id=record.place.chip_id,
            session_sha256=None,
        )
        if context.order is None or context.product_toml is None:
            raise Fault(f"work order {record.place.work_order} of record {record.record_id} is gone")
        product = parse_product(context.product_toml)
        # The stamp's word is the newer one; what evidence measured stands where the stamp says nothing.
        versions = dict(record.measured) | said.claims.versions
        check_firmware(versions, least_firmware(context.order, product.evidence))
        check_bundle(said.claims.firmware, context.order.bundle)
        locks = product.stamp.required_locks
        still_open = [lock for lock in locks if said.claims.security_state.get(lock) is not True]
        if still_open:
            raise Refused(
                Code.STAMP_LOCKS_OPEN, f"locks that the product requires are open: {', '.join(still_open)}"
            )


def _read(record: Record, grant: Grant, stamp: bytes, signature: bytes) -> Stamp:
    certificate = x509.load_der_x509_certificate(record.certificate_der)
    key = certificate.public_key()
    if not isinstance(key, PublicKey):
        raise Fault(f"record {record.record_id} has a certificate for another kind of key")
    try:
        check_signature(key, stamp, signature)
        said = parse_stamp(stamp)
        check_agrees(
            said,
            IssuedBoard(
                challenge=grant.challenge,
                chip_id=record.place.chip_id,
                serial_number=record.place.serial_number,
                certificate_der=record.certificate_der,
                settings=record.settings,
            ),
        )
    except StampError as error:
        raise Refused(Code.STAMP_REJECTED, str(error)) from error
    return said
