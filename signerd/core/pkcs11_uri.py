"""How settings and commands name a token or a key in it.

    birthmark-ca                     what has this label; of tokens, where none has it, this serial number
    id:02                            the key with this CKA_ID
    slot:9c                          the key in this slot of a PIV card, such as a YubiKey
    pkcs11:id=%02                    a PKCS #11 URI (RFC 7512)
    pkcs11:token=line;serial=1234    one of two tokens that share a label

A URI is taken as other tools print it: what it says of a key's token is compared with the one that is there.
An attribute that is not looked at, and a query, is an error that names it; nothing of a URI is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

MAX_TEXT = 512
_SCHEME = "pkcs11:"  # of any case (RFC 3986 §3.1)
_ABOUT_TOKEN = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
    "slot-id": "slot_id",
    "slot-description": "slot_description",
    "slot-manufacturer": "slot_manufacturer",
}
_ABOUT_KEY = ("object", "id", "type")
_TYPES = ("private", "secret-key")
_MAX_ID = 64  # bytes of a CKA_ID that is given in hexadecimal
# What a query says, and where it is said instead.
_QUERIES = {
    "pin-value": "a PIN never stands in clear: give its source by --pin or hsm.pin",
    "pin-source": "give the PIN's source by --pin or hsm.pin, such as file:PATH",
    "module-path": "give the module by --module or hsm.module",
    "module-name": "give the module's path by --module or hsm.module",
}
# RFC 7512 §2.3: pk11-pchar and pct-encoded.
_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_ID = re.compile(r"id:((?:[0-9A-Fa-f]{2})+)")
# SP 800-73-4 §3: slots of a PIV card. Modules for PIV number their keys in this order (CKA_ID).
_SLOT = re.compile(r"slot:([0-9A-Fa-f]{2})")
_PIV_IDS = {slot: number for number, slot in enumerate((0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96)), start=1)}


@dataclass(frozen=True, slots=True)
class TokenName:
    """What a token must have. None: whatever it has."""

    label: str | None = None
    serial: bytes | None = None
    manufacturer: str | None = None
    model: str | None = None
    slot_id: int | None = None
    slot_description: str | None = None
    slot_manufacturer: str | None = None

    def fits(self, token: TokenName) -> bool:
        """Whether a token with all that is said of it is meant."""
        pairs = ((getattr(self, field.name), getattr(token, field.name)) for field in fields(self))
        return all(wanted in (None, found) for wanted, found in pairs)


@dataclass(frozen=True, slots=True)
class KeyName:
    """What a key must have: a label or an id, or both. `token`: what the name says of its token."""

    label: str | None
    id: bytes | None
    token: TokenName = TokenName()


def is_uri(text: str) -> bool:
    """Whether it is a URI, and no label."""
    return text[: len(_SCHEME)].lower() == _SCHEME


def token_name(text: str) -> TokenName:
    """Raises ValueError: it is no URI of a token."""
    if not is_uri(text):
        return TokenName(text)
    name = _token(_attributes(text, tuple(_ABOUT_TOKEN)))
    if name == TokenName():
        raise ValueError("a token's URI names token or serial")
    return name


def key_name(text: str) -> KeyName:
    """Raises ValueError: it is no URI of a key, no id, or no slot of a PIV card."""
    if not is_uri(text):
        return _short(text)
    found = _attributes(text, (*_ABOUT_KEY, *_ABOUT_TOKEN))
    if (kind := _text(found, "type")) not in (None, *_TYPES):
        raise ValueError(f"type={kind} is no key")
    name = KeyName(_text(found, "object"), found.get("id"), _token(found))
    if name.label is None and name.id is None:
        raise ValueError("a key's URI names object or id")
    return name


def slot_hint(text: str) -> str:
    """For a label that no key has: what was meant, where it is a PIV card's slot."""
    slot = f"slot:{text}"
    known = _SLOT.fullmatch(slot) is not None and int(text, 16) in _PIV_IDS
    return f"; the slot of a PIV card is named {slot}" if known else ""


def _short(text: str) -> KeyName:
    if text.startswith("id:"):
        given = _ID.fullmatch(text)
        if given is None or len(given[1]) > 2 * _MAX_ID:
            raise ValueError("an id is given as id: and the hexadecimal bytes of CKA_ID, for example id:02")
        return KeyName(None, bytes.fromhex(given[1]))
    if text.startswith("slot:"):
        slot = _SLOT.fullmatch(text)
        number = None if slot is None else _PIV_IDS.get(int(slot[1], 16))
        if number is None:
            raise ValueError("a PIV card has slot:9a, slot:9c, slot:9d, slot:9e and slot:82 to slot:95")
        return KeyName(None, bytes([number]))
    if not text:
        raise ValueError("a key's name is empty")
    return KeyName(text, None)


def _attributes(text: str, known: tuple[str, ...]) -> dict[str, bytes]:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a PKCS #11 URI of more than {MAX_TEXT} characters")
    path, question, query = text[len(_SCHEME) :].partition("?")
    if question:
        name = query.partition("=")[0]
        raise ValueError(f"in this PKCS #11 URI no {name} may stand: {_QUERIES.get(name, 'leave it out')}")
    found: dict[str, bytes] = {}
    for part in path.split(";"):
        name, equals, value = part.partition("=")
        if name not in known:
            raise ValueError(f"in this PKCS #11 URI only {', '.join(known)} may stand, not {part!r}")
        if name in found:
            raise ValueError(f"{name} appears twice in the PKCS #11 URI")
        if not equals or not value or _VALUE.fullmatch(value) is None:
            raise ValueError(f"{part!r} is not of the form of RFC 7512")
        found[name] = _ENCODED.sub(lambda pair: chr(int(pair[1], 16)), value).encode("latin-1")
    return found


def _token(found: dict[str, bytes]) -> TokenName:
    return TokenName(
        label=_text(found, "token"),
        serial=found.get("serial"),
        manufacturer=_text(found, "manufacturer"),
        model=_text(found, "model"),
        slot_id=_number(found, "slot-id"),
        slot_description=_text(found, "slot-description"),
        slot_manufacturer=_text(found, "slot-manufacturer"),
    )


def _number(found: dict[str, bytes], name: str) -> int | None:
    if name not in found:
        return None
    # RFC 7512 §2.3: 1*DIGIT. CK_SLOT_ID has at most 64 bits.
    if re.fullmatch(rb"[0-9]{1,20}", found[name]) is None:
        raise ValueError(f"{name} in the PKCS #11 URI is no number")
    return int(found[name])


def _text(found: dict[str, bytes], name: str) -> str | None:
    try:
        return found[name].decode() if name in found else None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} in the PKCS #11 URI is not UTF-8") from error
