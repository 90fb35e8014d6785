"""Method `x509`: chips with an attestation key that their vendor or their own DICE layers certified.

TcbInfo follows the TCG DICE Attestation Architecture, §6.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from boards.attesters.certificate_writer import (
    Authority,
    Hash,
    Key,
    KeyType,
    Validity,
    basic_constraints,
    extension,
    integer,
    issue,
    key_usage,
    make_key,
    oid,
    pem,
    root_authority,
    sign,
    spki_of,
    sub_authority,
    subject,
    tlv,
)
from boards.attesters.port import COMPONENT, VERSION

FWID = hashlib.sha256(b"birthmark " + COMPONENT.encode() + b" " + VERSION.encode()).digest()
SHA256_OID = "2.16.840.1.101.3.4.2.1"
TCB_INFO = "2.23.133.5.4.1"
MULTI_TCB_INFO = "2.23.133.5.4.5"

_TRANSCRIPT_HASHES: dict[str, Hash] = {"secp256r1": "sha256", "secp384r1": "sha384", "secp521r1": "sha512"}


def tcb_info(
    digests: Sequence[bytes] = (FWID,),
    *,
    flags: Collection[int] = (),
    algorithm: str = SHA256_OID,
    layer: int = 1,
    rest: bytes = b"",
) -> bytes:
    """DiceTcbInfo.

    Args:
        digests: of the FWIDs; none: the field is left out.
        flags: bits of OperationalFlags: 0 notConfigured, 1 notSecure, 2 recovery, 3 debug.
        algorithm: OID of the hash of each FWID.
        layer: the firmware's layer.
        rest: elements after `flags`.
    """
    fwids = tlv(0xA6, *(tlv(0x30, oid(algorithm), tlv(0x04, digest)) for digest in digests))
    octets = bytearray(max(flags) // 8 + 1 if flags else 0)
    for bit in flags:
        octets[bit // 8] |= 0x80 >> bit % 8
    return tlv(
        0x30,
        tlv(0x80, b"Example Silicon"),
        tlv(0x81, b"EX-1"),
        tlv(0x82, VERSION.encode()),
        integer(3, 0x83),
        integer(layer, 0x84),
        fwids if digests else b"",
        tlv(0x87, b"\x00", bytes(octets)) if flags else b"",
        rest,
    )


@dataclass(frozen=True, slots=True)
class X509Attester:
    """An attestation key and its chain, the root left out."""

    key: Key
    chain: tuple[bytes, ...]
    method: str = "x509"

    def attest(self, transcript: bytes, csr: bytes) -> bytes:  # noqa: ARG002 (the port)
        digest: Hash = "sha256"
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            digest = _TRANSCRIPT_HASHES.get(self.key.curve.name, digest)
        return cbor2.dumps([sign(self.key, transcript, digest), list(self.chain)], canonical=True)

    def identity(self) -> None:
        return None


class X509Vendor:
    """A vendor with a root and an intermediate CA, both made with it.

    Args:
        attribute: of the leaf's subject that holds the chip id.
        measures: its chips measure their firmware (DICE), and the product accepts `FWID`.
        certifies_born_keys: what the product says of it.
        key_type: of the CAs.
    """

    def __init__(
        self,
        *,
        attribute: Literal["serialNumber", "CN"] = "serialNumber",
        measures: bool = True,
        certifies_born_keys: bool = False,
        key_type: KeyType = "p256",
    ) -> None:
        self._attribute = attribute
        self._measures = measures
        self._certifies_born_keys = certifies_born_keys
        self._keys: dict[tuple[str, KeyType], Key] = {}
        self.root = root_authority("Example Silicon Root", make_key(key_type))
        self.intermediate = sub_authority(self.root, "Example Silicon CA 1", make_key(key_type))

    def product_section(self) -> str:
        lines = [
            "[evidence.x509]",
            f'roots = ["""{pem(self.root.certificate)}"""]',
            f'chip_id = "{self._attribute}"',
        ]
        if self._certifies_born_keys:
            lines.append("certifies_born_keys = true")
        if self._measures:
            accepted = f'component = "{COMPONENT}", version = "{VERSION}", digest = "{FWID.hex()}"'
            lines.append(f"measurements = [{{ {accepted} }}]")
        return "\n".join(lines) + "\n"

    def attester(
        self,
        chip_id: str,
        *,
        key_type: KeyType = "p256",
        key: Key | None = None,
        names: Sequence[str] | None = None,
        digest: bytes | None = FWID,
        flags: Collection[int] = (),
        tcb_critical: bool = True,
        root: Literal["own", "another"] = "own",
        validity: Validity = "always",
        leaf_ca: bool = False,
        usage: Sequence[str] = ("digital_signature",),
        path: Literal["whole", "too-long", "cut", "with-root", "reordered", "leaf-is-root"] = "whole",
        signature_hash: Hash = "sha256",
    ) -> X509Attester:
        """A chip of this vendor.

        Args:
            chip_id: as the board says it.
            key_type: of the attestation key.
            key: the attestation key itself, for a chip whose certified key is the board's own.
            names: what stands in the subject instead of the chip id; () leaves it out.
            digest: what its DICE layer measured; None: no TcbInfo. A vendor that does not measure has none.
            flags: bits of OperationalFlags.
            tcb_critical: TcbInfo is a critical extension.
            root: another one has the same names and other keys.
            validity: of the leaf.
            leaf_ca: the leaf says that it is a CA.
            usage: key usage of the leaf; () leaves the extension out.
            path: the certificates that are sent: one CA more than the intermediate allows; without the
                intermediate; with the root; the intermediate first; or a self-signed leaf alone.
            signature_hash: of the leaf's signature.
        """
        if key is None and (chip_id, key_type) not in self._keys:
            self._keys[chip_id, key_type] = make_key(key_type)
        own_key = key or self._keys[chip_id, key_type]
        anchor, issuer = self.root, self.intermediate
        if root == "another":
            anchor = root_authority("Example Silicon Root", make_key("p256"))
            issuer = sub_authority(anchor, "Example Silicon CA 1", make_key("p256"))
        chain = [issuer.certificate]
        if path == "too-long":
            issuer = sub_authority(anchor, "Example Silicon CA 2", make_key("p256"), path_length=0)
            lower = sub_authority(issuer, "Example Silicon CA 3", make_key("p256"))
            chain, issuer = [lower.certificate, issuer.certificate], lower
        kind = NameOID.SERIAL_NUMBER if self._attribute == "serialNumber" else NameOID.COMMON_NAME
        name = subject(*((kind, each) for each in ((chip_id,) if names is None else names)))
        if path == "leaf-is-root":
            chain, issuer = [], Authority(name, own_key)
        extensions = [basic_constraints(ca=leaf_ca)]
        if usage:
            extensions.append(key_usage(*usage))
        if self._measures and digest is not None:
            extensions.append(extension(TCB_INFO, tcb_info([digest], flags=flags), critical=tcb_critical))
        leaf = issue(issuer, name, spki_of(own_key), extensions, validity=validity, digest=signature_hash)
        return X509Attester(own_key, tuple(_sent(path, leaf, chain, anchor)))


def _sent(path: str, leaf: bytes, chain: Sequence[bytes], root: Authority) -> Iterator[bytes]:
    if path == "reordered":
        yield from chain
        yield leaf
        return
    yield leaf
    if path != "cut":
        yield from chain
    if path == "with-root":
        yield root.certificate
