"""Which token is meant: by its label, its serial number or a PKCS#11 URI (RFC 7512)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_SCHEME = "pkcs11:"
# Path attributes of RFC 7512, section 2.3, that speak of a token, and our names of them.
_ATTRIBUTES = {"token": "label", "serial": "serial", "manufacturer": "manufacturer", "model": "model"}
# Of an object or a slot: they do not tell tokens apart, and a URI may be copied from a tool with them.
_OTHERS = {"object", "id", "type", "library-manufacturer", "library-description", "library-version"}


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What is asked for; without any, every token fits."""

    text: str
    wanted: Mapping[str, str]  # by attribute; empty for a bare label or serial

    def fits(self, token: Mapping[str, str]) -> bool:
        """Whether a token of this `label`, `serial`, `manufacturer` and `model` is meant."""
        if not self.wanted:
            return not self.text or self.text in (token["label"], token["serial"])
        return all(token.get(name) == value for name, value in self.wanted.items())


def token_choice(text: str) -> TokenChoice:
    """Reads a label, a serial or a URI. Raises ValueError: the URI is none, or names no token."""
    if not text.startswith(_SCHEME):
        return TokenChoice(text, {})
    wanted: dict[str, str] = {}
    path, _, _ = text.removeprefix(_SCHEME).partition("?")
    for part in filter(None, path.split(";")):
        name, equals, value = part.partition("=")
        if not equals or (name not in _ATTRIBUTES and name not in _OTHERS):
            raise ValueError(f"{text!r}: {name!r} is no attribute of a token in RFC 7512")
        if name in _OTHERS:
            continue
        if _ATTRIBUTES[name] in wanted:
            raise ValueError(f"{text!r} has {name!r} twice")
        try:
            wanted[_ATTRIBUTES[name]] = unquote_to_bytes(value).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{text!r}: {name!r} is not UTF-8") from error
    if not wanted:
        raise ValueError(f"{text!r} names no token: add token=LABEL or serial=NUMBER")
    return TokenChoice(text, wanted)
