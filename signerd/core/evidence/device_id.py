"""Where in a chain the vendor ends and the chip begins: which certificate is that of the chip's DeviceID.

In a DICE chain a layer of firmware certifies the key of the next one. What such a certificate says follows
from firmware, which the factory may have replaced. The DeviceID is the topmost key that the chip holds: its
certificate is the lowest that the vendor made. In a chain without layers it is the leaf.

The product can say how many CAs are the vendor's (`vendor_cas`). Where it does not, the chip begins at the
topmost CA that shows it:

- it has an extension of 2.23.133.5.4, as UEID or TcbInfo, or a purpose of tcg-dice-kp;
- the certificate below has a purpose that only a chip's own CA certifies (identityLoc, attestLoc, assertLoc);
- its subject holds a digest of its own key, as chips write it.

A measured certificate is made by a layer above it if its name follows from its own key, or if two CAs stand
above it that show nothing: of two, the lower one may be a chip's. Where the product measures, a leaf that is
not measured is looked at in the same way, since who may leave out a name may leave out a measurement. To
take a vendor's CA for a chip's DeviceID makes all its chips one, and the second is refused; the other mistake
makes one chip many.

Where three CAs or more stand above a measured key and none of them shows anything, the lower ones may be a
chip's padding: the chain is refused until the product says `vendor_cas`.

Two cases are left, and no chain can tell them; there only `vendor_cas` helps. A DeviceID that shows nothing,
directly under the root, looks like a vendor's CA. And where neither the product nor the chain measures, a
DeviceID that shows nothing looks like one at any depth.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

from signerd.core import der
from signerd.core.evidence.certificate import Certificate, attributes, extended_key_usage
from signerd.core.evidence.chip_names import UEID
from signerd.core.evidence.errors import EvidenceError

_DICE_ARC = "2.23.133.5.4."
_PURPOSES = f"{_DICE_ARC}100."  # tcg-dice-kp
# identityLoc, attestLoc, assertLoc: who certified the key is in the same chip.
_BY_A_CHIP = frozenset(f"{_PURPOSES}{number}" for number in (7, 9, 11))
# Those and eca. A CA of the vendor may name the Init purposes for what it certifies.
_OF_A_CHIP = _BY_A_CHIP | {f"{_PURPOSES}12"}
# CAs that show nothing, above a measured key: the upper one counts as the vendor's, the lower as a chip's.
_TOLD_APART = 2
_KEPT = 256  # the same few CAs stand above all boards
_TELLING = 8  # bytes of a digest that no name holds by chance


def device_id(certificates: Sequence[Certificate], vendor_cas: int | None, *, measures: bool) -> int:
    """The number of the DeviceID's certificate in the chain.

    Args:
        certificates: of a valid chain, leaf first, without the root.
        vendor_cas: how many CAs below the root are the vendor's; None: the product does not say.
        measures: the product names measurements, so that its chips have layers.

    Raises:
        EvidenceError: the chain is shorter than the product says, or a CA that should be the vendor's is a
            chip's; or the product does not say, and nothing tells the vendor's CAs from padding.
    """
    if vendor_cas is not None:
        return _as_stated(certificates, vendor_cas)
    cas = range(1, len(certificates))
    top = max((number for number in cas if _shows_a_chip(certificates, number)), default=0)
    above = len(certificates) - 1 - top
    measured = _is_measured(certificates[top]) or (measures and top == 0)
    if measured and above > _TOLD_APART:
        raise EvidenceError(
            f"{above} CAs above a measured key, and nothing shows which are the vendor's:"
            " the product must say vendor_cas"
        )
    by_a_layer = above >= 2 or (above == 1 and _named_by_its_key(certificates[top]))
    return top + 1 if measured and by_a_layer else top


def _as_stated(certificates: Sequence[Certificate], vendor_cas: int) -> int:
    found = len(certificates) - 1 - vendor_cas
    if found < 0:
        raise EvidenceError(f"the product says vendor_cas = {vendor_cas}, and the chain has fewer CAs")
    for number in range(found + 1, len(certificates)):
        # A purpose alone says it of what is certified below as well.
        if _shows_a_chip(certificates, number, also_init=False):
            raise EvidenceError(
                f"the product says vendor_cas = {vendor_cas}, and one of these CAs is a chip's"
            )
    return found


def _shows_a_chip(certificates: Sequence[Certificate], number: int, *, also_init: bool = True) -> bool:
    """True if the CA says that its key is in a chip, or what it certified does."""
    certificate = certificates[number]
    purposes = _purposes(certificate)
    return (
        any(oid.startswith(_DICE_ARC) for oid in certificate.extensions)
        or not _OF_A_CHIP.isdisjoint(purposes)
        or (also_init and any(purpose.startswith(_PURPOSES) for purpose in purposes))
        or not _BY_A_CHIP.isdisjoint(_purposes(certificates[number - 1]))
        or _named_by_its_key(certificate)
    )


def _is_measured(certificate: Certificate) -> bool:
    """True if it speaks of firmware: of the architecture's extensions, UEID alone does not."""
    return any(oid.startswith(_DICE_ARC) and oid != UEID for oid in certificate.extensions)


def _purposes(certificate: Certificate) -> frozenset[str]:
    return extended_key_usage(certificate) or frozenset()


@lru_cache(maxsize=_KEPT)
def _named_by_its_key(certificate: Certificate) -> bool:
    """True if the subject holds a digest of the certificate's own key, or its beginning."""
    texts = [text for _, text in attributes(certificate.subject) if text is not None]
    hexadecimal = ["".join(char for char in text.lower() if char not in ": -") for text in texts]
    for digest in _digests(certificate.spki):
        if any(digest.hex() in text for text in hexadecimal):
            return True
        beginning = base64.b64encode(digest).decode()[:10]
        if any(beginning in text.replace("-", "+").replace("_", "/") for text in texts):
            return True
    return False


def _digests(spki: bytes) -> Iterator[bytes]:
    """Beginnings of digests of the key: of the whole structure, its bits, and an EC point's coordinates."""
    bits = der.content(der.elements(der.content(spki, der.SEQUENCE))[1], der.BIT_STRING)[1:]
    for key in (spki, bits, bits[1:]):
        for name in ("sha1", "sha256", "sha384", "sha512"):
            yield hashlib.new(name, key, usedforsecurity=False).digest()[:_TELLING]
