"""When two distinguished names are one (RFC 5280 §7.1), from their DER.

    compared(subject) == compared(authority)

Types of string, letter case and white space make no other name (RFC 4518). Where this is coarser than the
RFC, as with email addresses and invisible characters, more names are one: whoever refuses a name for being
another's refuses more.
"""

from __future__ import annotations

import stringprep
import unicodedata

from signerd.core import der

PRINTABLE_STRING, TELETEX_STRING, IA5_STRING, UNIVERSAL_STRING, BMP_STRING = 0x13, 0x14, 0x16, 0x1C, 0x1E
# What a certificate that is made today may hold (§4.1.2.4 and appendix A.1: domainComponent, emailAddress).
CURRENT = frozenset({der.UTF8_STRING, PRINTABLE_STRING, IA5_STRING})
# TeletexString has no decoder that all agree on (§7.1 leaves it to be compared byte by byte): Latin-1 is what
# certificates hold in it.
_ENCODINGS = {
    der.UTF8_STRING: "utf-8",
    PRINTABLE_STRING: "ascii",
    IA5_STRING: "ascii",
    TELETEX_STRING: "latin-1",
    BMP_STRING: "utf-16-be",
    UNIVERSAL_STRING: "utf-32-be",
}
_OBJECT_REPLACEMENT = "\ufffc"  # mapped to nothing, RFC 4518 §2.2

Compared = tuple[frozenset[tuple[bytes, bytes | str]], ...]


def compared(name: bytes, *, current: bool = False) -> Compared:
    """A Name (DER) in the form in which two that are one are equal.

    Args:
        name: RDNSequence, DER.
        current: demand that each value is of a type of `CURRENT`, which compare well with each other.

    Raises:
        der.DerError: it is no Name, or holds a value of another type.
        UnicodeDecodeError: a string is not of its type.
    """
    relative = der.elements(der.content(name, der.SEQUENCE))
    return tuple(
        frozenset(_attribute(each, current=current) for each in der.elements(der.content(rdn, der.SET)))
        for rdn in relative
    )


def _attribute(raw: bytes, *, current: bool) -> tuple[bytes, bytes | str]:
    parts = der.elements(der.content(raw, der.SEQUENCE))
    if len(parts) != 2 or parts[0][0] != der.OBJECT_IDENTIFIER:
        raise der.DerError("not a type and a value")
    kind, value = parts
    if current and value[0] not in CURRENT:
        raise der.DerError(f"a value of type {value[0]:#04x}")
    encoding = _ENCODINGS.get(value[0])
    if encoding is None:
        return kind, value
    return kind, _prepared(der.content(value, value[0]).decode(encoding))


def _prepared(text: str) -> str:
    """RFC 4518 §2: transcoded, mapped, normalized; white space at the ends goes, and inside is one blank."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (" " if character.isspace() else character for character in folded if not _is_nothing(character))
    return " ".join("".join(kept).split())


def _is_nothing(character: str) -> bool:
    if character.isspace():
        return False
    invisible = unicodedata.category(character) in {"Cc", "Cf"}
    return invisible or stringprep.in_table_b1(character) or character == _OBJECT_REPLACEMENT
