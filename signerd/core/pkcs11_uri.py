"""How settings name a token or a key in it: by its label, or by a PKCS #11 URI (RFC 7512).

    birthmark-ca                     the object of this label
    pkcs11:id=%02                    the object with this CKA_ID
    pkcs11:token=line;serial=1234    one of two tokens that share a label

Only what finds one thing is taken: `token` and `serial` for a token, `object`, `id` and `type` for a key. Any
other attribute, and a query, is an error that names it; nothing of a URI is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TEXT = 512
_SCHEME = "pkcs11:"
_TOKEN = ("token", "serial")
_KEY = ("object", "id", "type")
_TYPES = ("private", "secret-key")
# RFC 7512 §2.3: pk11-pchar and pct-encoded.
_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenName:
    """What a token must have. One of them at least is given."""

    label: str | None
    serial: bytes | None


@dataclass(frozen=True, slots=True)
class KeyName:
    """What a key must have. One of them at least is given."""

    label: str | None
    id: bytes | None


def is_uri(text: str) -> bool:
    """Whether it is a URI, and no label."""
    return text.startswith(_SCHEME)


def token_name(text: str) -> TokenName:
    """Raises ValueError: it is no URI of a token."""
    if not is_uri(text):
        return TokenName(text, None)
    found = _attributes(text, _TOKEN)
    name = TokenName(_text(found, "token"), found.get("serial"))
    if name == TokenName(None, None):
        raise ValueError("a token's URI names token or serial")
    return name


def key_name(text: str) -> KeyName:
    """Raises ValueError: it is no URI of a key."""
    if not is_uri(text):
        return KeyName(text, None)
    found = _attributes(text, _KEY)
    if (kind := _text(found, "type")) not in (None, *_TYPES):
        raise ValueError(f"type={kind} is no key")
    name = KeyName(_text(found, "object"), found.get("id"))
    if name == KeyName(None, None):
        raise ValueError("a key's URI names object or id")
    return name


def _attributes(text: str, known: tuple[str, ...]) -> dict[str, bytes]:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a PKCS #11 URI of more than {MAX_TEXT} characters")
    found: dict[str, bytes] = {}
    for part in text.removeprefix(_SCHEME).split(";"):
        name, equals, value = part.partition("=")
        if name not in known:
            raise ValueError(f"in this PKCS #11 URI only {', '.join(known)} may stand, not {part!r}")
        if name in found:
            raise ValueError(f"{name} stands twice in the PKCS #11 URI")
        if not equals or not value or _VALUE.fullmatch(value) is None:
            raise ValueError(f"{part!r} is not of the form of RFC 7512")
        found[name] = _ENCODED.sub(lambda pair: chr(int(pair[1], 16)), value).encode("latin-1")
    return found


def _text(found: dict[str, bytes], name: str) -> str | None:
    try:
        return found[name].decode() if name in found else None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} in the PKCS #11 URI is not UTF-8") from error
