"""Judges certificate records: everything of it that takes time and asks nobody. Runs in any process.

    outcomes = Judge(identities).judge(batch)       # one for each job, in their order

What a record is judged by is in the batch, as bytes: its entries, its order's terms, the product file, its
issuer's chain. A batch made of the same records gives the same outcomes wherever it is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter

from cryptography import x509

from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState
from auditor.core.certificate import Issuer, verify_issuer
from auditor.core.codes import Code
from auditor.core.entry import Issued, OrderOpened, Stamped, reread_entry
from auditor.core.findings import Finding, finding_of
from auditor.core.identities import Identities
from auditor.core.product import ProductRules, read_product
from auditor.core.record import AppraisalPolicy, Facts, Record, check_record
from auditor.errors import CheckFailed, ConfigError

# What is found when the evidence itself does not hold, or not for what the ledger says.
_FALSE = frozenset({Code.EVIDENCE, Code.EVIDENCE_FALSE, Code.EVIDENCE_LEVEL, Code.ATTESTER})
_RECORD = attrgetter(*(item.name for item in fields(Record)))
_CERTIFICATE = attrgetter(*(item.name for item in fields(CertificateState)))
# As plain tuples they cross to another process in a fifth of the time.
_Plain = tuple[tuple[object, ...], tuple[object, ...], bytes, bytes | None, datetime | None, bytes]


@dataclass(frozen=True, slots=True)
class Terms:
    """A work order: its `order_opened` entry, and its product's file where that is known."""

    opened: bytes
    product_file: bytes | None


@dataclass(slots=True)
class Batch:
    """Records to judge, and what they are judged by."""

    size: int  # of the verified tree
    orders: dict[str, Terms] = field(default_factory=dict)
    chains: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # of issuers, the root last
    jobs: list[_Plain] = field(default_factory=list)

    def add(
        self,
        record: Record,
        certificate: CertificateState,
        issued: bytes,
        stamped: bytes | None,
        since: datetime | None,
        issuer: bytes,
    ) -> None:
        """One record: with the certificate that the ledger has of it, its `issued` and `stamped` entries, the
        beginning of its intent if a crash held it up, and the SHA-256 of its issuer's certificate."""
        self.jobs.append((_RECORD(record), _CERTIFICATE(certificate), issued, stamped, since, issuer))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one record. `finding` None: it holds."""

    index: int
    basis: Basis
    rests_on: str
    anchors: tuple[Anchor, ...]  # that its evidence proves and its entry does not say
    finding: Finding | None
    stamped: bool = False


class Judge:
    """See the module. `identities`: the company's own list, where there is one."""

    def __init__(self, identities: Identities | None) -> None:
        self._identities = identities
        self._rules: dict[bytes, ProductRules] = {}
        self._terms: dict[bytes, OrderOpened] = {}
        self._issuers: dict[tuple[bytes, ...], Issuer] = {}

    def judge(self, batch: Batch) -> list[Outcome]:
        """Outcomes in the order of the jobs. Raises ConfigError: the kept state is damaged."""
        return [self._one(batch, job) for job in batch.jobs]

    def _one(self, batch: Batch, job: _Plain) -> Outcome:
        record, certificate = Record(*job[0]), CertificateState(*job[1])  # type: ignore[arg-type]
        issued, stamped = _entries(job[2], job[3])
        terms = batch.orders.get(certificate.work_order)
        order = None if terms is None else self._order(terms)
        policy = AppraisalPolicy(None if terms is None else self._product(terms), self._identities)
        facts = Facts(issued, certificate, order, stamped, batch.size, job[4])
        try:
            checked = check_record(record, facts, self._issuer(batch.chains, job[5]), policy)
        except CheckFailed as error:
            found = finding_of(error, index=certificate.index, serial_number=certificate.serial_number)
            basis = Basis.FALSE if error.code in _FALSE else Basis.UNCHECKED
            return Outcome(certificate.index, basis, "", (), found)
        unsaid = checked.anchors if issued.anchors is None else ()
        return Outcome(certificate.index, checked.basis, checked.rests_on, unsaid, None, bool(record.stamp))

    def _order(self, terms: Terms) -> OrderOpened:
        known = self._terms.get(terms.opened)
        if known is None:
            entry = reread_entry(terms.opened)
            if not isinstance(entry, OrderOpened):
                raise _damaged()
            known = self._terms[terms.opened] = entry
        return known

    def _product(self, terms: Terms) -> ProductRules | None:
        if terms.product_file is None:
            return None
        known = self._rules.get(terms.product_file)
        if known is None:
            known = self._rules[terms.product_file] = read_product(terms.product_file)
        return known

    def _issuer(self, chains: Mapping[bytes, tuple[bytes, ...]], digest: bytes) -> Issuer:
        *chain, root = chains[digest]
        known = self._issuers.get(chains[digest])
        if known is None:
            known = verify_issuer(chain, x509.load_der_x509_certificate(root))
            self._issuers[chains[digest]] = known
        return known


def _entries(issued: bytes, stamped: bytes | None) -> tuple[Issued, Stamped | None]:
    first = reread_entry(issued)
    second = None if stamped is None else reread_entry(stamped)
    if not isinstance(first, Issued) or not isinstance(second, Stamped | None):
        raise _damaged()
    return first, second


def _damaged() -> ConfigError:
    return ConfigError("the state is damaged: move it away and verify anew")
