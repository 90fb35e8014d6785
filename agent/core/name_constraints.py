"""Name constraints of the CAs above a board's certificate (RFC 5280 §4.2.1.10), as OpenSSL reads them.

    check_names(certificate, constraints, is_leaf=True)

Held against them are the subject, each alternative name, mail addresses in the subject, and a leaf's common
name that looks like a DNS name, where no DNS name is beside it. What cannot be judged is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.x509.oid import NameOID

_SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")  # RFC 8398
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_LOOKS_LIKE_DNS = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9.-]+)(:[0-9]*(/.*)?|/[^:]*)?", re.DOTALL)


class NameConstraintError(ValueError):
    """A name that a CA above it does not allow, or that cannot be judged."""


def check_names(certificate: x509.Certificate, constraints: x509.NameConstraints, *, is_leaf: bool) -> None:
    """Raises NameConstraintError."""
    for name in _names(certificate, is_leaf=is_leaf):
        permitted = [base for base in constraints.permitted_subtrees or () if _concerns(base, name)]
        if permitted and not any(_within(name, base, _as_openssl) for base in permitted):
            raise NameConstraintError("a name is not within what a CA above it permits")
        for base in constraints.excluded_subtrees or ():
            if _concerns(base, name) and _within(name, base, _coarsely):
                raise NameConstraintError("a name is within what a CA above it excludes")


def _names(certificate: x509.Certificate, *, is_leaf: bool) -> Iterator[x509.GeneralName]:
    subject = certificate.subject
    if subject.rdns:
        yield x509.DirectoryName(subject)
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        try:
            yield x509.RFC822Name(str(attribute.value))
        except ValueError as error:
            raise NameConstraintError("a mail address in the subject is none") from error
    alternatives = _alternatives(certificate)
    yield from alternatives
    if is_leaf and not any(isinstance(each, x509.DNSName) for each in alternatives):
        for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            text = str(attribute.value).rstrip("\0")
            if _LOOKS_LIKE_DNS.fullmatch(text):
                yield x509.DNSName(text)


def _alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _concerns(base: x509.GeneralName, name: x509.GeneralName) -> bool:
    if isinstance(name, x509.OtherName):
        if isinstance(base, x509.RFC822Name) and name.type_id == _SMTP_UTF8_MAILBOX:
            raise NameConstraintError("a mail address beyond ASCII cannot be judged")
        return isinstance(base, x509.OtherName) and base.type_id == name.type_id
    return type(base) is type(name)


def _within(name: x509.GeneralName, base: x509.GeneralName, folded: Callable[[str], str]) -> bool:
    match name, base:
        case x509.DNSName(), x509.DNSName():
            return _is_dns_below(name.value.lower(), base.value.lower())
        case x509.RFC822Name(), x509.RFC822Name():
            return _is_mailbox_of(name.value, base.value)
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            return _is_host_of(_host(name.value), base.value.lower())
        case x509.IPAddress(), x509.IPAddress():
            return _is_address_of(name, base)
        case x509.DirectoryName(), x509.DirectoryName():
            wanted, found = _folded(base.value, folded), _folded(name.value, folded)
            return found[: len(wanted)] == wanted
        case _:
            raise NameConstraintError("a form of names is constrained that cannot be judged")


def _is_dns_below(name: str, base: str) -> bool:
    return base in ("", name) or name.endswith(base if base.startswith(".") else f".{base}")


def _is_mailbox_of(name: str, base: str) -> bool:
    local, at, host = name.rpartition("@")
    if not at or not host:
        raise NameConstraintError("a mail address is none")
    wanted_local, wanted_at, wanted_host = base.rpartition("@")
    if not wanted_at:
        return _is_host_of(host.lower(), base.lower())
    return wanted_host.lower() == host.lower() and wanted_local in ("", local)


def _is_host_of(host: str, base: str) -> bool:
    return host == base or (base.startswith(".") and host.endswith(base) and host != base)


def _host(uri: str) -> str:
    """The host, where all readers find the same one: OpenSSL ends it at a colon, be it in the path."""
    found = _HOST.fullmatch(uri)
    if found is None or not found[1].strip("0123456789."):
        raise NameConstraintError("a URI has no host that all agree on")
    return found[1].lower()


def _is_address_of(name: x509.IPAddress, base: x509.IPAddress) -> bool:
    address, network = name.value, base.value
    if not isinstance(address, IPv4Address | IPv6Address):
        raise NameConstraintError("an IP address is none")
    if isinstance(network, IPv4Address | IPv6Address):
        raise NameConstraintError("a constraint of IP addresses is none")
    return address in network


def _folded(
    name: x509.Name, folded: Callable[[str], str]
) -> list[frozenset[tuple[x509.ObjectIdentifier, str | bytes]]]:
    return [
        frozenset(
            (each.oid, folded(each.value) if isinstance(each.value, str) else each.value) for each in rdn
        )
        for rdn in name.rdns
    ]


def _as_openssl(text: str) -> str:
    """Letter case of ASCII alone, and white space, make no other name."""
    lowered = "".join(each.lower() if each.isascii() else each for each in text)
    return " ".join(part for part in re.split(r"[ \t\n\v\f\r]+", lowered) if part)


def _coarsely(text: str) -> str:
    """Letter case of all letters, and what looks alike (RFC 4518)."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
