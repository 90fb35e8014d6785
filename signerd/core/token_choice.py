"""Which token is meant: by label, serial number or PKCS #11 URI (`pkcs11_uri`); any, where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signerd.core.pkcs11_uri import TokenName, is_uri, token_name


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What is asked for."""

    text: str
    name: TokenName

    def fits(self, label: str, serial: str) -> bool:
        """Whether a token with these may be meant, as far as that is known."""
        if not is_uri(self.text):
            return self.text in ("", label, serial)
        wanted = TokenName(self.name.label, self.name.serial)
        return wanted.fits(TokenName(label, serial.encode()))

    def of(self, there: Sequence[TokenName]) -> list[int]:
        """The places of those that are meant. A text that is no URI is a label; only where no token has it is
        it a serial number."""
        if not self.text:
            return list(range(len(there)))
        named = [place for place, token in enumerate(there) if self.name.fits(token)]
        if named or is_uri(self.text):
            return named
        by_serial = TokenName(serial=self.text.encode())
        return [place for place, token in enumerate(there) if by_serial.fits(token)]


def token_choice(text: str) -> TokenChoice:
    """Raises ValueError: it begins as a URI, and is none of a token."""
    return TokenChoice(text, token_name(text))
