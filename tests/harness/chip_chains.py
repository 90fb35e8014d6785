"""Chains of certificates as vendors and chips make them, by what each certificate says.

chain = Chain(Made("Example CA"), Made("DeviceID", ueid=b"\x02" * 17), Made("alias", measured=True))
chain.certificates     # leaf first, without the root
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.x509.oid import NameOID

from boards.attesters.certificate_writer import (
    Authority,
    Key,
    basic_constraints,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    root_authority,
    spki_of,
    subject,
    tlv,
)
from boards.attesters.x509 import FWID, TCB_INFO, tcb_info

UEID = "2.23.133.5.4.4"
PURPOSES = "2.23.133.5.4.100."


@dataclass(frozen=True, slots=True)
class Made:
    """One certificate: `name` is its serialNumber; None: what follows is in `subject`, or nothing."""

    name: str | None
    digest: bytes | None = None  # FWID of its TcbInfo
    ueid: bytes | None = None
    purposes: Sequence[int] = ()  # of tcg-dice-kp
    more: Sequence[bytes] = ()  # extensions
    key: Key | None = None
    subject: bytes | None = None  # Name, DER, instead
    serial: int | None = None

    @property
    def measured(self) -> Made:
        """The same, with the firmware that products accept."""
        return replace(self, digest=FWID)


class Chain:
    """A root, and what is below it, each issued by the one before; the last is the leaf."""

    def __init__(self, *below: Made, root: Authority | None = None) -> None:
        self.root = root or root_authority("Example Silicon Root", make_key("p256"))
        issuer, certificates = self.root, []
        self.keys: list[Key] = []
        for made in below:
            key = made.key or make_key("p256")
            issuer = self._issue(issuer, made, key, is_leaf=made is below[-1])
            certificates.append(issuer.certificate)
            self.keys.append(key)
        self.certificates: tuple[bytes, ...] = tuple(reversed(certificates))

    @property
    def key(self) -> Key:
        """The leaf's."""
        return self.keys[-1]

    def spki(self, number: int) -> bytes:
        """Of a certificate, counted from the root, which is 0."""
        return spki_of(self.root.key if number == 0 else self.keys[number - 1])

    @staticmethod
    def _issue(issuer: Authority, made: Made, key: Key, *, is_leaf: bool) -> Authority:
        name = made.subject or (
            subject() if made.name is None else subject((NameOID.SERIAL_NUMBER, made.name))
        )
        usage = key_usage("digital_signature") if is_leaf else key_usage("key_cert_sign")
        parts = [basic_constraints(ca=not is_leaf), usage, *made.more]
        if made.purposes:
            parts.append(extended_key_usage(*(f"{PURPOSES}{number}" for number in made.purposes)))
        if made.ueid is not None:
            parts.append(extension(UEID, tlv(0x30, tlv(0x04, made.ueid))))
        if made.digest is not None:
            parts.append(extension(TCB_INFO, tcb_info([made.digest]), critical=True))
        certificate = issue(issuer, name, spki_of(key), parts, serial=made.serial)
        return Authority(name, key, certificate)


def alternative_names(*names: bytes) -> bytes:
    """A SAN of these GeneralNames, DER."""
    return extension("2.5.29.17", tlv(0x30, *names))


def directory_name(*attributes: tuple[str, str]) -> bytes:
    """A directoryName of these attributes, as Trust&GO and TPMs write them."""
    kinds = [(x509.ObjectIdentifier(oid), text) for oid, text in attributes]
    return tlv(0xA4, subject(*kinds))
