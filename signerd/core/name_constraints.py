"""Name constraints of CAs (RFC 5280 §4.2.1.10), from their DER, and what they say of certificates below.

    constraints = read_constraints(extension.value)
    problem = next(constraints.problems(names), None)

Read as OpenSSL reads them, whose verdict most relying parties follow: subtrees of the subject, of each
alternative name, and of a common name that looks like a DNS name where there is no DNS name beside it. Where
RFC 5280 leaves two readings, a certificate must pass both: a name that cannot be judged is refused.

    form     is in a subtree when
    DNS      it ends with the subtree's labels; of `.a.example`, with at least one label more
    mail     the mailbox, the host, or of `.a.example` a host below it
    URI      its host is the subtree's, or of `.a.example` below it; hosts that are addresses, user
             information, URIs without a host, and colons in paths cannot be judged
    IP       the bits under the mask are the subtree's
    subject  its first relative names are the subtree's
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from signerd.core import der, distinguished_names
from signerd.core.der import DerError

# Tags of GeneralName (RFC 5280 §4.2.1.6).
_OTHER, _MAIL, _DNS, _DIRECTORY, _URI, _IP = 0xA0, 0x81, 0x82, 0xA4, 0x86, 0x87
_FORMS = {_MAIL: "mail", _DNS: "DNS", _DIRECTORY: "directory", _URI: "URI", _IP: "IP"}
_PERMITTED, _EXCLUDED = 0xA0, 0xA1
_EMAIL_ADDRESS = bytes.fromhex("06092a864886f70d010901")  # 1.2.840.113549.1.9.1
_COMMON_NAME = bytes.fromhex("0603550403")
_SMTP_UTF8_MAILBOX = bytes.fromhex("06082b06010505070809")  # RFC 8398: mail that is no IA5String
_TEXT = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii"}
_TEXT |= {0x1C: "utf-32-be", 0x1E: "utf-16-be"}
# What OpenSSL takes for a DNS name in a common name: two labels or more, `_` among their characters.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_LIKE_DNS = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
# Without a port no colon either: OpenSSL takes what stands before the first one for the host, path and all.
_PLAIN_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?P<host>[A-Za-z0-9.-]+)(?::[0-9]*(?:/.*)?|/[^:]*)?", re.DOTALL
)
_ADDRESS = re.compile(r"[0-9.]+")


class CannotJudgeError(ValueError):
    """A name or a subtree that nothing can be said of, so that the certificate is refused."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate calls its holder: Name (DER), and GeneralName (DER) of each alternative."""

    subject: bytes
    alternatives: tuple[bytes, ...]
    is_leaf: bool = True

    def all(self) -> Iterator[tuple[int, bytes]]:
        """Tag and content of each name that constraints are held against.

        Raises:
            DerError: the subject is no Name.
        """
        relative = _relative_names(self.subject)
        if relative:
            yield _DIRECTORY, self.subject
        pairs = [pair for rdn in relative for pair in rdn]
        for kind, value in pairs:
            if kind == _EMAIL_ADDRESS:
                yield _MAIL, _text(value).encode()
        for name in self.alternatives:
            yield name[0], der.content(name, name[0])
        if self.is_leaf and not any(name[0] == _DNS for name in self.alternatives):
            for kind, value in pairs:
                if kind == _COMMON_NAME and _LIKE_DNS.fullmatch(text := _text(value).rstrip("\0")):
                    yield _DNS, text.encode()


@dataclass(frozen=True, slots=True)
class Subtree:
    """One subtree: the base's tag and content."""

    tag: int
    base: bytes

    @property
    def text(self) -> str:
        """As people read it."""
        match self.tag:
            case 0x81 | 0x82 | 0x86:
                return f"{_FORMS[self.tag]} {_ia5(self.base) or 'any'}"
            case 0x87:
                half = len(self.base) // 2
                return f"IP {self.base[:half].hex()}/{self.base[half:].hex()}"
            case 0xA4:
                return f"subject {_shown(self.base)}"
            case _:
                return f"a name of tag {self.tag:#x}"


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """Of one CA."""

    permitted: tuple[Subtree, ...]
    excluded: tuple[Subtree, ...]

    def problems(self, names: Names) -> Iterator[str]:
        """Why a certificate with these names may not stand below the CA; nothing where it may."""
        try:
            for tag, name in names.all():
                yield from self._of_one(tag, name)
        except ValueError as error:  # of a name that cannot be read or judged
            yield f"names and name constraints: {error}"

    def _of_one(self, tag: int, name: bytes) -> Iterator[str]:
        permitted = [subtree for subtree in self.permitted if _concerns(subtree, tag, name)]
        if permitted and not any(_within(subtree, name, exact=True) for subtree in permitted):
            said = " or ".join(subtree.text for subtree in permitted[:3])
            yield f"{Subtree(tag, name).text} is not within {said}"
        for subtree in self.excluded:
            if _concerns(subtree, tag, name) and _within(subtree, name, exact=False):
                yield f"{Subtree(tag, name).text} is within {subtree.text}, which is excluded"


def read_constraints(value: bytes) -> NameConstraints:
    """The extension's value.

    Raises:
        DerError: it is not of the form, or says minimum or maximum, which RFC 5280 leaves no use for.
    """
    parts = der.elements(der.content(value, der.SEQUENCE))
    tags = [part[0] for part in parts]
    if tags not in ([], [_PERMITTED], [_EXCLUDED], [_PERMITTED, _EXCLUDED]):
        raise DerError("not permitted and excluded subtrees")
    found = {part[0]: _subtrees(part) for part in parts}
    return NameConstraints(found.get(_PERMITTED, ()), found.get(_EXCLUDED, ()))


def alternatives(value: bytes) -> tuple[bytes, ...]:
    """GeneralNames (DER): the names of a subjectAltName. Raises DerError."""
    return tuple(der.elements(der.content(value, der.SEQUENCE)))


def _subtrees(part: bytes) -> tuple[Subtree, ...]:
    found = []
    for raw in der.elements(der.content(part, part[0])):
        match der.elements(der.content(raw, der.SEQUENCE)):
            case [base]:
                found.append(Subtree(base[0], der.content(base, base[0])))
            case _:
                raise DerError("a subtree is more than its base: minimum and maximum are not for use")
    for subtree in found:
        _check_base(subtree)
    return tuple(found)


def _check_base(subtree: Subtree) -> None:
    if subtree.tag in {_MAIL, _DNS, _URI}:
        _ia5(subtree.base)
    elif subtree.tag == _IP and len(subtree.base) not in {8, 32}:
        raise DerError("an IP subtree is an address and a mask")
    elif subtree.tag == _DIRECTORY:
        _relative_names(subtree.base)


def _concerns(subtree: Subtree, tag: int, name: bytes) -> bool:
    """Whether the subtree is about names of this form; of `otherName`, of this type."""
    if tag == _OTHER:
        kind = der.elements(name)[:1]
        if kind == [_SMTP_UTF8_MAILBOX] and subtree.tag == _MAIL:
            raise CannotJudgeError("mail addresses beyond ASCII are not held against name constraints here")
        return subtree.tag == _OTHER and der.elements(subtree.base)[:1] == kind
    return subtree.tag == tag


def _within(subtree: Subtree, name: bytes, *, exact: bool) -> bool:
    """`exact`: letters beyond ASCII differ by their case, as they do for OpenSSL; else they do not."""
    match subtree.tag:
        case 0x82:
            return _dns_within(_ia5(name).lower(), _ia5(subtree.base).lower())
        case 0x81:
            return _mail_within(_ia5(name), _ia5(subtree.base))
        case 0x86:
            return _host_within(_host(_ia5(name)), _ia5(subtree.base).lower())
        case 0x87:
            return _ip_within(name, subtree.base)
        case 0xA4:
            return _directory_within(name, subtree.base, exact=exact)
        case _:
            raise CannotJudgeError(
                f"the chain constrains names of tag {subtree.tag:#x}, which are not judged here"
            )


def _dns_within(name: str, base: str) -> bool:
    if not base or name == base:
        return True
    return name.endswith(base) and (base.startswith(".") or name[: -len(base)].endswith("."))


def _mail_within(name: str, base: str) -> bool:
    local, at, host = name.rpartition("@")
    if not at or not host:
        raise CannotJudgeError(f"{name[:80]!r} is no mail address")
    base_local, base_at, base_host = base.rpartition("@")
    if base_at:
        return host.lower() == base_host.lower() and base_local in ("", local)
    return _host_within(host.lower(), base.lower())


def _host_within(host: str, base: str) -> bool:
    if base.startswith("."):
        return len(host) > len(base) and host.endswith(base)
    return host == base


def _host(uri: str) -> str:
    found = _PLAIN_URI.fullmatch(uri)
    if found is None or _ADDRESS.fullmatch(found["host"]):
        raise CannotJudgeError(
            f"URI {uri[:80]} has no plain host name, or a colon in its path, and the chain constrains"
            " the hosts of URIs (RFC 5280 §4.2.1.10)"
        )
    return found["host"].lower()


def _ip_within(name: bytes, base: bytes) -> bool:
    if 2 * len(name) != len(base):
        return False
    pairs = zip(name, base[: len(name)], base[len(name) :], strict=True)
    return all((octet ^ wanted) & mask == 0 for octet, wanted, mask in pairs)


def _directory_within(name: bytes, base: bytes, *, exact: bool) -> bool:
    form = _plain if exact else distinguished_names.compared
    wanted = form(base)
    return form(name)[: len(wanted)] == wanted


def _plain(name: bytes) -> distinguished_names.Compared:
    """Two names that are one for OpenSSL: ASCII letter case, white space and types of string aside."""
    return tuple(
        frozenset((kind, _folded(value) if value[0] in _TEXT else value) for kind, value in rdn)
        for rdn in _relative_names(name)
    )


def _folded(value: bytes) -> str:
    lowered = "".join(each.lower() if each.isascii() else each for each in _text(value))
    return " ".join(part for part in re.split(r"[ \t\n\v\f\r]+", lowered) if part)


def _text(value: bytes) -> str:
    encoding = _TEXT.get(value[0])
    if encoding is None:
        raise CannotJudgeError(f"a name's value is of type {value[0]:#04x}")
    return der.content(value, value[0]).decode(encoding)


def _ia5(content: bytes) -> str:
    text = content.decode("ascii")
    if "\0" in text:
        raise DerError("a name holds a zero byte")
    return text


def _relative_names(name: bytes) -> list[list[tuple[bytes, bytes]]]:
    found = []
    for rdn in der.elements(der.content(name, der.SEQUENCE)):
        pairs = [
            der.elements(der.content(each, der.SEQUENCE)) for each in der.elements(der.content(rdn, der.SET))
        ]
        if any(len(pair) != 2 for pair in pairs):
            raise DerError("an attribute is not a type and a value")
        found.append([(pair[0], pair[1]) for pair in pairs])
    return found


def _shown(name: bytes) -> str:
    parts = [
        _text(value) if value[0] in _TEXT else value.hex()
        for rdn in _relative_names(name)
        for _, value in rdn
    ]
    return ", ".join(parts) or "any"
