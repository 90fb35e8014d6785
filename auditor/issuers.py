"""Whose certificate a board's is: the chain of each issuer is fetched once, and verified to a pinned root."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.core.certificate import Issuer, issued_by, load_certificate, verify_issuer
from auditor.core.codes import Code
from auditor.core.entry import parse_entry
from auditor.core.issuers import KINDS, Known, KnownIssuer, replay
from auditor.errors import CheckFailed, Malformed
from auditor.ports import Log, State


class Issuers:
    """Of one verified ledger."""

    def __init__(self, log: Log, state: State, roots: Sequence[x509.Certificate]) -> None:
        self._log = log
        self._roots = {sha256(root.public_bytes(Encoding.DER)).digest(): root for root in roots}
        self._known: Known = replay((index, parse_entry(data)) for index, data in state.entries(kinds=KINDS))
        self._verified: dict[bytes, Issuer] = {}  # by the SHA-256 of its certificate
        self.chains: dict[
            bytes, tuple[bytes, ...]
        ] = {}  # the same, DER: the root that it leads to is the last

    def of(self, certificate_der: bytes, index: int, ca: str | None) -> Issuer:
        """The issuer of a board's certificate that was entered at this index.

        Args:
            certificate_der: the board's.
            index: of its `issued` entry.
            ca: which its product names; None where that is not known.

        Raises:
            CheckFailed: CERTIFICATE_CHAIN: no issuer that was active then.
            NotFound, Malformed, Unreachable: signerd does not give the chain.
        """
        candidates = [issuer for issuer in self._known.values() if issuer.active_at(index)]
        if ca is not None:
            candidates = [issuer for issuer in candidates if issuer.ca == ca]
        found = self._among(candidates, certificate_der)
        if found is None:
            learned = self.learn(self._log.record(sha256(certificate_der).digest()).chain)
            found = self._among(candidates, certificate_der)
            if found is None:
                raise _not_active(learned, self._known)
        return found

    def learn(self, chain: Sequence[bytes]) -> Issuer:
        """Takes the chain of an issuer that the ledger announced.

        Raises:
            CheckFailed: CERTIFICATE_CHAIN: it is of none, or does not lead to the root that the ledger names.
        """
        if not chain:
            raise CheckFailed(Code.CERTIFICATE_CHAIN, "no chain")
        digest = sha256(chain[0]).digest()
        if digest not in self._verified:
            known = next((one for one in self._known.values() if one.certificate_sha256 == digest), None)
            if known is None:
                detail = "the chain does not begin with an issuer of the ledger"
                expected = ", ".join(one.certificate_sha256.hex() for one in self._known.values())
                raise CheckFailed(Code.CERTIFICATE_CHAIN, detail, expected=expected, found=digest.hex())
            root = self._root(known)
            self._verified[digest] = verify_issuer(chain, root)
            self.chains[digest] = (*chain, root.public_bytes(Encoding.DER))
        return self._verified[digest]

    def _root(self, known: KnownIssuer) -> x509.Certificate:
        root = self._roots.get(known.root_sha256)
        if root is None:
            raise CheckFailed(
                Code.CERTIFICATE_CHAIN,
                f"the root of issuer {known.name} is not pinned",
                found=known.root_sha256.hex(),
            )
        return root

    def _among(self, candidates: Sequence[KnownIssuer], certificate_der: bytes) -> Issuer | None:
        verified = [
            issuer for one in candidates if (issuer := self._verified.get(one.certificate_sha256)) is not None
        ]
        if len(candidates) == 1:
            return verified[0] if verified else None
        try:
            certificate = load_certificate(certificate_der)
        except Malformed as error:
            raise CheckFailed(Code.CERTIFICATE_FORM, "the certificate cannot be read") from error
        return next((issuer for issuer in verified if issued_by(certificate, issuer)), None)


def _not_active(issuer: Issuer, known: Known) -> CheckFailed:
    digest = sha256(issuer.certificate.public_bytes(Encoding.DER)).digest()
    name = next(one.name for one in known.values() if one.certificate_sha256 == digest)
    return CheckFailed(
        Code.CERTIFICATE_CHAIN, "its issuer was not the active one of the product's CA then", found=name
    )
