"""Name constraints (RFC 5280 §4.2.1.10): which names of a certificate the CAs above it do not allow.

    constraints = read(value)                  # of the extension
    constraints.check(subject, alternatives)   # raises Malformed

Decided as OpenSSL decides, and refused where readers could differ: hosts of URIs that are written in an odd
way, mail beyond ASCII, subtrees with a minimum or maximum. Names are DER, as they stand in certificates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.core import der
from auditor.core.evidence.certificate import attributes, comparable
from auditor.errors import Malformed

# Tags of GeneralName that are judged; otherName only as far as it may be mail.
MAIL, DNS, DIRECTORY, URI, IP, _OTHER = 0x81, 0x82, 0xA4, 0x86, 0x87, 0xA0
_EMAIL_ADDRESS, _COMMON_NAME = "1.2.840.113549.1.9.1", "2.5.4.3"
_UTF8_MAILBOX = der.element(der.OBJECT_IDENTIFIER, bytes.fromhex("2b06010505070809"))  # RFC 8398
_DNS_LIKE = re.compile(r"\w([\w-]*\w)?(\.\w([\w-]*\w)?)+", re.ASCII)
_ODD_FREE_URI = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+)(:[0-9]*(/.*)?|/[^:]*)?", re.DOTALL)
_WHITE = re.compile(r"[ \t\n\v\f\r]+")


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """Tag and content of each subtree's base."""

    permitted: tuple[tuple[int, bytes], ...]
    excluded: tuple[tuple[int, bytes], ...]

    def check(self, subject: bytes, alternatives: Sequence[bytes], *, leaf: bool) -> None:
        """Raises Malformed if a certificate with this subject and these GeneralNames may not stand below."""
        for tag, name in _held(subject, alternatives, leaf=leaf):
            bases = [base for kind, base in self.permitted if _same_form(kind, base, tag, name)]
            if bases and not any(_contains(tag, base, name, strict=True) for base in bases):
                raise Malformed("a name is outside what a CA above permits")
            for kind, base in self.excluded:
                if _same_form(kind, base, tag, name) and _contains(tag, base, name, strict=False):
                    raise Malformed("a name is inside what a CA above excludes")


def read(value: bytes) -> NameConstraints:
    """The extension. Raises Malformed."""
    lists: dict[int, tuple[tuple[int, bytes], ...]] = {}
    for part in der.members(value):
        if part[0] not in {0xA0, 0xA1} or part[0] in lists or (part[0] == 0xA0 and lists):
            raise Malformed("name constraints are not of their form")
        lists[part[0]] = tuple(_base(subtree) for subtree in der.members(part, part[0]))
    return NameConstraints(lists.get(0xA0, ()), lists.get(0xA1, ()))


def general_names(value: bytes) -> list[bytes]:
    """Of a subjectAltName. Raises Malformed."""
    return der.members(value)


def _base(subtree: bytes) -> tuple[int, bytes]:
    match der.members(subtree):
        case [base]:
            content = der.content(base, base[0])
        case _:
            raise Malformed("a subtree with a minimum or a maximum")
    if base[0] in {MAIL, DNS, URI}:
        _ascii(content)
    if base[0] == IP and len(content) not in {8, 32}:
        raise Malformed("a subtree of IP addresses that is none")
    if base[0] == DIRECTORY:
        attributes(content)
    return base[0], content


def _held(subject: bytes, alternatives: Sequence[bytes], *, leaf: bool) -> list[tuple[int, bytes]]:
    """What is held against constraints: tag and content of each name."""
    parts = attributes(subject)
    names = [(DIRECTORY, subject)] if parts else []
    names += [(MAIL, _encoded(text)) for oid, text in parts if oid == _EMAIL_ADDRESS]
    names += [(name[0], der.content(name, name[0])) for name in alternatives]
    if leaf and all(name[0] != DNS for name in alternatives):
        texts = [(text or "").rstrip("\0") for oid, text in parts if oid == _COMMON_NAME]
        names += [(DNS, _encoded(text)) for text in texts if _DNS_LIKE.fullmatch(text)]
    return names


def _same_form(kind: int, base: bytes, tag: int, name: bytes) -> bool:
    if tag != _OTHER:
        return kind == tag
    own = der.split(name)[:1]
    if kind == MAIL and own == [_UTF8_MAILBOX]:
        raise Malformed("a mail address that is not ASCII")
    return kind == _OTHER and der.split(base)[:1] == own


def _contains(tag: int, base: bytes, name: bytes, *, strict: bool) -> bool:
    """`strict`: as OpenSSL, which folds the case of ASCII letters alone."""
    if tag == DNS:
        return _dns(_ascii(base), _ascii(name))
    if tag == MAIL:
        return _mail(_ascii(base, fold=False), _ascii(name, fold=False))
    if tag == URI:
        found = _ODD_FREE_URI.fullmatch(_ascii(name))
        if found is None or re.fullmatch(r"[0-9.]+", found[1]):
            raise Malformed("a URI whose host not all would read alike")
        return _host(_ascii(base), found[1])
    if tag == IP:
        size = len(name)
        wanted, mask = int.from_bytes(base[:size], "big"), int.from_bytes(base[size:], "big")
        return len(base) == 2 * size and (int.from_bytes(name, "big") ^ wanted) & mask == 0
    if tag == DIRECTORY:
        inner, outer = (_folded(each) if strict else comparable(each) for each in (name, base))
        return inner[: len(outer)] == outer
    raise Malformed(f"constraints of names of tag {tag:#x}, which are not judged here")


def _dns(base: str, name: str) -> bool:
    labels, wanted = name.split("."), base.removeprefix(".").split(".")
    if not base:
        return True
    return labels[-len(wanted) :] == wanted and len(labels) >= len(wanted) + base.startswith(".")


def _host(base: str, name: str) -> bool:
    return name.endswith(base) and name != base if base.startswith(".") else name == base


def _mail(base: str, name: str) -> bool:
    local, _, host = name.rpartition("@")
    if "@" not in name or not host:
        raise Malformed("a mail address that is none")
    if "@" not in base:
        return _host(base.lower(), host.lower())
    wanted, _, at = base.rpartition("@")
    return at.lower() == host.lower() and wanted in {"", local}


def _folded(name: bytes) -> list[set[tuple[bytes, bytes | str]]]:
    folded = []
    for rdn in der.members(name):
        pairs = [der.members(attribute) for attribute in der.members(rdn, der.SET)]
        texts = attributes(der.element(der.SEQUENCE, rdn))
        plain = [text if text is None else _ascii_folded(text) for _, text in texts]
        folded.append(
            {(pair[0], pair[1] if text is None else text) for pair, text in zip(pairs, plain, strict=True)}
        )
    return folded


def _ascii_folded(text: str) -> str:
    return " ".join(_WHITE.split("".join(each.lower() if each < "\x80" else each for each in text))).strip(
        " "
    )


def _encoded(text: str | None) -> bytes:
    return (text or "").encode()


def _ascii(content: bytes, *, fold: bool = True) -> str:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("a name that is not ASCII") from error
    if "\0" in text:
        raise Malformed("a name with a zero byte")
    return text.lower() if fold else text
