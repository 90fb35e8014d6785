"""Which token is meant: by label, serial number or PKCS #11 URI (`pkcs11_uri`); any, where none is named."""

from __future__ import annotations

from dataclasses import dataclass

from signerd.core.pkcs11_uri import TokenName, is_uri, token_name


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What is asked for."""

    text: str
    name: TokenName

    def fits(self, label: str, serial: str) -> bool:
        """Whether a token with these is meant."""
        if not is_uri(self.text):
            return self.text in ("", label, serial)
        known = (self.name.label in (None, label), self.name.serial in (None, serial.encode()))
        return all(known)


def token_choice(text: str) -> TokenChoice:
    """Raises ValueError: it begins as a URI, and is none of a token."""
    return TokenChoice(text, token_name(text))
