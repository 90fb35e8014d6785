"""Boards by the thousand a second: genuine keys, CSRs, certificates and stamps, filled into stencils.

    maker = BoardMaker(terms, moment)
    board = maker.board(7)                # place 7 of the order

What differs from board to board has one length in all of them, so each structure is encoded once, by the code
that signerd and boards have, and each board's values are put into their places. The evidence stands for a
MAC: 32 bytes that a chip with a secret might have sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from boards import formats
from signerd.core import der
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.names import Level
from signerd.core.order import Place, WorkOrder
from signerd.core.product import Product
from signerd.core.profile import Issuer, build_tbs, terms_of
from signerd.core.serial_number import parse_pattern
from signerd.core.settings import with_serial

METHOD = "hmac-sha256"
_SERIAL_BITS = 152
_POINT = 65  # bytes, of an uncompressed point on P-256
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758 §3.2
FIRMWARE = {"app": ("1.2.0", sha256(b"app").digest()), "boot": ("2.1.0", sha256(b"boot").digest())}
LOCKS = {"secure_boot": True, "flash_encryption": True}
CLAIMS = formats.claims(FIRMWARE, LOCKS)
Random = Callable[[int], bytes]
Sign = Callable[[bytes], bytes]  # a TBSCertificate -> DER of its signature


class Stencil:
    """Bytes with places for values, each wherever the sample's stood."""

    def __init__(self, data: bytes, *values: bytes) -> None:
        """`values`: those of the sample `data`, which nothing else in it looks like. `filled` takes as many,
        in their order."""
        spans = []
        for number, value in enumerate(values):
            found = [(each.start(), each.end(), number) for each in re.finditer(re.escape(value), data)]
            if not found:
                raise ValueError(f"value {number} does not stand in what it is to fill")
            spans += found
        self._parts: list[bytes] = []
        self._order: list[int] = []
        at = 0
        for begin, end, number in sorted(spans):
            self._parts.append(data[at:begin])
            self._order.append(number)
            at = end
        self._last = data[at:]

    def filled(self, *values: bytes) -> bytes:
        """With other values. Whether their length may differ is the structure's affair."""
        pieces: list[bytes] = []
        for part, number in zip(self._parts, self._order, strict=True):
            pieces += (part, values[number])
        return b"".join((*pieces, self._last))


@dataclass(frozen=True, slots=True)
class BulkTerms:
    """What all boards of a run share."""

    order: WorkOrder
    product: Product
    issuer: Issuer
    station: str
    sign: Sign  # with the issuer's key
    chip_pattern: str = "bulk-{:08d}"


@dataclass(frozen=True, slots=True)
class BulkBoard:
    """One board, certified and stamped."""

    place: Place
    spki_sha256: bytes
    challenge: bytes
    session_sha256: bytes
    csr_der: bytes
    evidence: bytes
    settings: bytes
    tbs: bytes
    certificate_der: bytes
    stamp: bytes
    stamp_signature: bytes


class BoardMaker:
    """Boards whose places were all taken at one moment."""

    def __init__(self, terms: BulkTerms, moment: datetime, random: Random = os.urandom) -> None:
        self._terms = terms
        self._moment = moment
        self._random = random
        self._pattern = parse_pattern(terms.order.serial_pattern)
        self._known: tuple[int, Sequence[Stencil]] | None = None  # for names of one length

    def place(self, number: int) -> Place:
        """The place of this number, from 1."""
        order = self._terms.order
        return Place(
            work_order=order.work_order,
            product=order.product,
            chip_id=self._terms.chip_pattern.format(number),
            number=number,
            serial_number=self._pattern.render(order.serial_start + number - 1),
            certificate_serial=(1 << _SERIAL_BITS) | int.from_bytes(self._random(_SERIAL_BITS // 8)),
            moment=self._moment,
        )

    def board(self, number: int) -> BulkBoard:
        """The board of this place."""
        place, key = self.place(number), ec.generate_private_key(ec.SECP256R1())
        spki = _spki(key)
        names = place.chip_id.encode(), place.serial_number.encode()
        request, to_be_signed, contents, stamped = self._stencils(place)
        info = request.filled(spki)
        csr = der.signed(info, _ECDSA_SHA256, _signature(key, info))
        settings = contents.filled(names[1])
        tbs = to_be_signed.filled(*names, place.certificate_serial.to_bytes(20), spki, _identifier(spki))
        certificate = der.signed(tbs, self._terms.issuer.algorithm.identifier, self._terms.sign(tbs))
        challenge = self._random(32)
        digests = sha256(certificate).digest(), sha256(settings).digest()
        stamp = stamped.filled(challenge, *names, *digests)
        return BulkBoard(
            place=place,
            spki_sha256=sha256(spki).digest(),
            challenge=challenge,
            session_sha256=self._random(32),
            csr_der=csr,
            evidence=self._random(32),
            settings=settings,
            tbs=tbs,
            certificate_der=certificate,
            stamp=stamp,
            stamp_signature=_signature(key, stamp),
        )

    def _stencils(self, place: Place) -> Sequence[Stencil]:
        """Of request, TBSCertificate, settings and stamp."""
        length = len(place.serial_number)
        if self._known is None or self._known[0] != length:
            self._known = length, self._cut(sample_of(place))
        return self._known[1]

    def _cut(self, place: Place) -> Sequence[Stencil]:
        terms, key = self._terms, ec.generate_private_key(ec.SECP256R1())
        spki = _spki(key)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "board")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        stated = EvidenceStatement.about(Level.KEY, METHOD, bytes(32))
        filled = terms_of(terms.product, place, key.public_key(), terms.issuer, stated)
        tbs = build_tbs(filled, place, key.public_key(), terms.issuer)
        names = place.chip_id.encode(), place.serial_number.encode()
        serial = place.certificate_serial.to_bytes(20)
        settings = with_serial(terms.order.settings, place.serial_number)
        challenge, certificate_sha256, settings_sha256 = (os.urandom(32) for _ in range(3))
        stamp = formats.StampFields(
            challenge, place.chip_id, place.serial_number, certificate_sha256, settings_sha256, FIRMWARE,
            LOCKS, None,
        ).encode()  # fmt: skip
        return (
            Stencil(request.tbs_certrequest_bytes, spki),
            Stencil(tbs, *names, serial, spki, _identifier(spki)),
            Stencil(settings, names[1]),
            Stencil(stamp, challenge, *names, certificate_sha256, settings_sha256),
        )


def sample_of(place: Place) -> Place:
    """A place whose names are as long, and are like nothing else in what is made of it."""
    chip_id, serial_number = "c" * len(place.chip_id), "s" * len(place.serial_number)
    return replace(place, chip_id=chip_id, serial_number=serial_number)


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _identifier(spki: bytes) -> bytes:
    """RFC 5280 §4.2.1.2, method 1: over the bits of the key."""
    return sha1(spki[-_POINT:], usedforsecurity=False).digest()


def _signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))
