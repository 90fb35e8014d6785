"""Questions about one board or one order, answered from the verified ledger and checked against signerd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from auditor.core.books import CertificateState, OrderState
from auditor.core.certificate import Issuer
from auditor.core.codes import Code
from auditor.core.entry import Entry, reread_entry
from auditor.core.findings import Finding, finding_of
from auditor.core.identities import Identities
from auditor.core.proofs import is_included
from auditor.core.record import AppraisalPolicy, Checked, Record, check_record
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.facts import facts_of
from auditor.issuers import Issuers
from auditor.ports import Log, OrderTerms, State
from auditor.products import Products
from auditor.terms import differences
from birthmark.proof import leaf_hash


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An entry whose inclusion proof leads to the kept checkpoint's root."""

    index: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class CertificateView:
    """All there is on one certificate. `checked` is None unless the record holds."""

    certificate: CertificateState
    entries: tuple[ProvedEntry, ...]
    checked: Checked | None
    chain: tuple[x509.Certificate, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class OrderView:
    """A work order by the ledger and by signerd's word."""

    ledger: OrderState
    signerd: OrderTerms
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Looks up in a kept state; asks signerd for records and proofs."""

    log: Log
    state: State
    roots: tuple[x509.Certificate, ...]
    identities: Identities | None
    products: Products

    def board(self, serial_number: str) -> list[CertificateView]:
        """Everything on one board, a view a certificate. Raises NotFound, Unreachable."""
        found = list(self.state.certificates_of(serial_number=serial_number))
        if not found:
            raise NotFound(f"the verified ledger has no board {serial_number}; `verify` reads what is new")
        return [self.certificate(certificate) for certificate in found]

    def certificate(self, certificate: CertificateState) -> CertificateView:
        """One certificate, its record checked and its entries proved. Raises Unreachable."""
        findings: list[Finding] = []
        entries = tuple(self._entries(certificate, findings))
        checked: Checked | None = None
        chain: tuple[x509.Certificate, ...] = ()
        try:
            answer = self.log.record(certificate.certificate_sha256)
            policy = self._policy(certificate)
            issuers = Issuers(self.log, self.state, self.roots)
            issuers.learn(answer.chain)
            ca = None if policy.product is None else policy.product.ca
            issuer = issuers.of(answer.record.certificate, certificate.index, ca)
            checked, chain = self._check(answer.record, certificate, issuer, policy), issuer.chain
        except (NotFound, Malformed) as error:
            findings.append(
                Finding(Code.RECORD_MISSING, str(error), certificate.index, certificate.serial_number)
            )
        except CheckFailed as error:
            findings.append(
                finding_of(error, index=certificate.index, serial_number=certificate.serial_number)
            )
        return CertificateView(certificate, entries, checked, chain, tuple(findings))

    def order(self, work_order: str) -> OrderView:
        """One work order. Raises NotFound, Unreachable."""
        ledger = self.state.order(work_order)
        if ledger is None:
            raise NotFound(f"the verified ledger has no work order {work_order}; `verify` reads what is new")
        try:
            said = self.log.order(work_order)
        except Malformed as error:
            raise NotFound(f"signerd's answer on {work_order}: {error}") from error
        findings = list(differences(ledger, said))
        try:
            self.products.of(ledger)
        except CheckFailed as error:
            findings.append(finding_of(error, index=ledger.opened_index))
        return OrderView(ledger, said, tuple(findings))

    def _policy(self, certificate: CertificateState) -> AppraisalPolicy:
        order = self.state.order(certificate.work_order)
        return AppraisalPolicy(None if order is None else self.products.of(order), self.identities)

    def _check(
        self, record: Record, certificate: CertificateState, issuer: Issuer, policy: AppraisalPolicy
    ) -> Checked:
        kept = self.state.kept()
        if kept is None:
            raise NotFound("no ledger was verified")
        return check_record(record, facts_of(self.state, certificate, kept.frontier.size), issuer, policy)

    def _entries(self, certificate: CertificateState, findings: list[Finding]) -> Iterator[ProvedEntry]:
        for index in (certificate.index, certificate.stamped_index, certificate.revoked_index):
            if index is None:
                continue
            try:
                self._prove(index)
            except CheckFailed as error:
                findings.append(finding_of(error, index=index, serial_number=certificate.serial_number))
            else:
                yield ProvedEntry(index, reread_entry(self.state.entry(index)))

    def _prove(self, index: int) -> None:
        kept = self.state.kept()
        if kept is None:
            raise CheckFailed(Code.NOT_INCLUDED, "no checkpoint was verified")
        head = kept.checkpoint
        try:
            proof = self.log.inclusion_proof(index, head.size)
            leaf = leaf_hash(self.state.entry(index))
            held = is_included(index=index, size=head.size, root=head.root, leaf=leaf, proof=proof)
        except (Malformed, NotFound) as error:
            raise CheckFailed(Code.PROOF_MALFORMED, f"inclusion proof: {error}") from error
        if not held:
            raise CheckFailed(
                Code.NOT_INCLUDED, f"signerd's proof does not lead to the root of size {head.size}"
            )
