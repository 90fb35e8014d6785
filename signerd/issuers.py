"""The issuers of this signerd: what the ledger says of each, its certificate, and what signs for it.

The certificates and tokens are the settings'; which issuer issues is the store's. `refresh` reads it anew: at
the start, at each change that an administrator makes here, and where a transaction says that somebody else
changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cryptography import x509

from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.profile import Issuer
from signerd.errors import Code, Fault, Refused, Unavailable
from signerd.ports import KeyHolder, Store


def _always() -> bool:
    """A key holder that never fails."""
    return True


def _always_room() -> None:
    """A key holder that is never busy."""


@dataclass(frozen=True, slots=True)
class IssuerParts:
    """What the settings say of one. `key_holder` None: its key is not here."""

    issuer: Issuer
    key_holder: KeyHolder | None
    serving: Callable[[], bool] = _always
    demand_room: Callable[[], None] = _always_room  # raises Busy where too much waits for the token


@dataclass(frozen=True, slots=True)
class InService:
    """An issuer, whole."""

    record: IssuerRecord
    parts: IssuerParts

    @property
    def issuer(self) -> Issuer:
        """Its certificate, chain and bounds."""
        return self.parts.issuer

    @property
    def key_holder(self) -> KeyHolder:
        """Raises Unavailable where its key is not here."""
        if self.parts.key_holder is None:
            raise Unavailable(f"the key of issuer {self.record.name} is not here (issuers.hsm)")
        return self.parts.key_holder


class Issuers:
    """All of them. Lives on the event loop."""

    def __init__(self, store: Store, parts: Mapping[bytes, IssuerParts]) -> None:
        """`parts` by the SHA-256 of the certificate."""
        self._store = store
        self._parts = parts
        self._known: dict[int, IssuerRecord] = {}

    async def refresh(self) -> None:
        """Reads them from the store."""
        self._known = {record.issuer_id: record for record in await self._store.list_issuers()}

    @property
    def records(self) -> tuple[IssuerRecord, ...]:
        """As they were read last, the first one first."""
        return tuple(self._known.values())

    @property
    def serving(self) -> bool:
        """Whether the key of each active issuer answers."""
        return all(map(self.serves, self._active()))

    def _active(self) -> Iterator[IssuerRecord]:
        return (record for record in self._known.values() if record.state is IssuerState.ACTIVE)

    def all_active(self) -> list[Issuer]:
        """Those who issue now, as far as the settings have their certificates."""
        found = (self._parts.get(record.certificate_sha256) for record in self._active())
        return [parts.issuer for parts in found if parts is not None]

    def serves(self, record: IssuerRecord) -> bool:
        """Whether its certificate is here, and its key answers."""
        parts = self._parts.get(record.certificate_sha256)
        return parts is not None and parts.key_holder is not None and parts.serving()

    def certificate(self, record: IssuerRecord) -> x509.Certificate | None:
        """None where the settings do not have it."""
        parts = self._parts.get(record.certificate_sha256)
        return None if parts is None else parts.issuer.certificate

    def active(self, ca: str) -> InService:
        """Who issues for this CA.

        Raises:
            Refused: `invalid`: there is no such CA.
            Unavailable: no issuer of it is active.
        """
        for record in self._active():
            if record.ca == ca:
                return self._whole(record)
        if any(record.ca == ca for record in self._known.values()):
            raise Unavailable(f"no issuer of CA {ca} is active: `signerd ca activate`")
        raise Refused(Code.INVALID, f"certificate.ca: there is no CA {ca!r}: `signerd ca list` shows all")

    def of(self, issuer_id: int) -> InService:
        """The issuer of a record, in whatever state."""
        try:
            return self._whole(self._known[issuer_id])
        except KeyError as error:
            raise Fault(f"no issuer {issuer_id} is known") from error

    def whole(self, name: str) -> InService:
        """Raises Refused `not_found`; Unavailable where the settings do not have it."""
        return self._whole(self.named(name))

    def named(self, name: str) -> IssuerRecord:
        """Raises Refused `not_found`."""
        for record in self._known.values():
            if record.name == name:
                return record
        raise Refused(Code.NOT_FOUND, f"no issuer {name!r}: `signerd ca list` lists them")

    def in_crl_of(self, issuer: InService) -> Callable[[bytes], bool] | None:
        """Whether a certificate (DER) is one that this issuer's CRL revokes: of its name and key (RFC 5280
        section 5). None: there is no other issuer."""
        if len(self._known) == 1:
            return None
        name = issuer.issuer.certificate.subject
        key_id = issuer.issuer.authority_key_identifier.key_identifier

        def ours(certificate_der: bytes) -> bool:
            certificate = x509.load_der_x509_certificate(certificate_der)
            if certificate.issuer != name:
                return False
            of = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
            return of.value.key_identifier == key_id

        return ours

    def _whole(self, record: IssuerRecord) -> InService:
        parts = self._parts.get(record.certificate_sha256)
        if parts is None:
            raise Unavailable(
                f"the settings do not have issuer {record.name}, whose certificate has the SHA-256"
                f" {record.certificate_sha256.hex()}"
            )
        return InService(record, parts)
