"""Finds the one token that is meant behind a PKCS#11 module. It runs where `token` does.

A slot that cannot be read is passed over where ours is another: a card beside ours may be broken, or pulled
at this moment. Tokens that are not set up are no tokens of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pkcs11
from pkcs11 import TokenFlag
from pkcs11.exceptions import PKCS11Error

from signerd.adapters.keyholder.return_values import described
from signerd.core.pkcs11_uri import TokenName
from signerd.core.token_choice import TokenChoice


class NoTokenError(Exception):
    """None is there, or none that can be read now: it may be plugged in later."""


class OtherTokensError(Exception):
    """There are tokens, and not one alone that is meant."""


def find_token(library: Any, choice: TokenChoice) -> pkcs11.Token:
    """The token that is meant.

    Raises:
        NoTokenError: there is no token now.
        OtherTokensError: none of those that are there is meant, or several are; the text lists them.
        PKCS11Error: the module does not list its slots.
    """
    unread: list[str] = []
    there = list(_tokens(library, unread))
    names = [name_of(token) for token in there]
    fitting = choice.of(names)
    if len(fitting) == 1:
        return there[fitting[0]]
    wanted = repr(choice.text)
    if not fitting and unread:  # ours may be the one that cannot be read now
        raise NoTokenError(f"the module has no token {wanted}; of another one it says {unread[0]}")
    if not there:
        raise NoTokenError("the module has no token that is set up: is it plugged in, and is its service up?")
    if not fitting:
        raise OtherTokensError(f"the module has no token {wanted}; it has {_listed(names)}")
    several = _listed([names[place] for place in fitting])
    which = f"several tokens are {wanted}" if choice.text else "the module has several tokens"
    raise OtherTokensError(f"{which}: name one by its serial number: {several}")


def _tokens(library: Any, unread: list[str]) -> Iterator[pkcs11.Token]:
    for slot in library.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except PKCS11Error as error:
            unread.append(described(error))
            continue
        if token.flags & TokenFlag.TOKEN_INITIALIZED:
            yield token


def name_of(token: pkcs11.Token) -> TokenName:
    """All that a URI can say of it."""
    slot = token.slot
    return TokenName(
        label=token.label,
        serial=token.serial.strip(b"\0 "),
        manufacturer=token.manufacturer_id,
        model=token.model,
        slot_id=slot.slot_id,
        slot_description=slot.slot_description,
        slot_manufacturer=slot.manufacturer_id,
    )


def _listed(names: list[TokenName]) -> str:
    return "; ".join(sorted(f"{each.label!r}, serial {_printable(each.serial or b'')}" for each in names))


def _printable(serial: bytes) -> str:
    text = serial.decode("ascii", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text) or "unknown"
