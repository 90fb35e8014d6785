"""What the search for shared primes reads and writes: RSA certificates of the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, null, select, update

from signerd.adapters.store.tables.schema import records
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import SharedPrimesFound
from signerd.ports import RecordState

SCANNED = 2_000  # records looked at for one page: an auditor's read waits no longer than this takes
# AlgorithmIdentifier of an RSA SubjectPublicKeyInfo (RFC 8017 §A.1): what finds RSA keys without parsing.
# That a certificate holds it elsewhere is possible and costs the reader one look.
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")

_r = records.c
_NAME = (
    update(records)
    .where(_r.certificate_sha256 == bindparam("sha256"), _r.shared_prime_index.is_(null()))
    .values(shared_prime_index=bindparam("index"))
)


@dataclass(frozen=True, slots=True)
class RsaCertificate:
    """A certificate whose key may be RSA, of whatever state. `named`: a ledger entry names it already."""

    certificate_sha256: bytes
    certificate_der: bytes
    named: bool
    revoked: bool


@dataclass(frozen=True, slots=True)
class RsaCertificates:
    """A page. `last_record_id` is the token for the next one; `more`: there is one."""

    certificates: tuple[RsaCertificate, ...]
    last_record_id: int
    more: bool


def rsa_certificates(connection: Connection, after_record_id: int) -> RsaCertificates:
    """`Administration.rsa_certificates`."""
    asked = (
        select(_r.id, _r.certificate_sha256, _r.certificate_der, _r.shared_prime_index, _r.state)
        .where(_r.id > after_record_id)
        .order_by(_r.id)
        .limit(SCANNED)
    )
    found: list[RsaCertificate] = []
    last, scanned = after_record_id, 0
    with connection.execute(asked) as rows:
        for row in rows:
            last, scanned, der = row.id, scanned + 1, row.certificate_der
            if der is not None and _RSA in der:
                named, revoked = row.shared_prime_index is not None, row.state == RecordState.REVOKED.value
                found.append(RsaCertificate(row.certificate_sha256, der, named=named, revoked=revoked))
    return RsaCertificates(tuple(found), last, more=scanned == SCANNED)


def record_shared_primes(tx: Transaction, certificates: Sequence[bytes], now: datetime) -> int:
    """One entry for at most `MAX_SHARED_PRIMES` certificates; how many were new. None new: no entry."""
    index = tx.next_index
    named = tuple(
        sha256
        for sha256 in certificates
        if tx.connection.execute(_NAME, {"sha256": sha256, "index": index}).rowcount == 1
    )
    if named:
        tx.append(SharedPrimesFound(time=now, count=len(named), certificates=named))
    return len(named)
