"""What a token is, holds and does, read through PKCS#11. It runs in the probe's process alone.

Beside `token`, this is the one module that knows PKCS#11: that one uses keys of the settings, this one looks
at what is there. It makes no key and changes nothing, logs in once, and not at all where one more wrong PIN
would lock the token. Everything that a module says is text of a stranger: it is cut, and unprintable
characters are replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pkcs11
from pkcs11 import Attribute, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error

from signerd.adapters.keyholder.key_trials import KeyTrials, attribute_of
from signerd.adapters.keyholder.return_values import described
from signerd.adapters.keyholder.token import (
    TokenError,
    chosen_token,
    demand_tries,
    load_module,
    translated,
)
from signerd.core.token_choice import TokenChoice

_TEXT = 200  # characters of what a module says of itself
_MOST_OBJECTS = 1_000
_PIN_STATES = (
    (TokenFlag.USER_PIN_LOCKED, "locked"),
    (TokenFlag.USER_PIN_FINAL_TRY, "one try left"),
    (TokenFlag.USER_PIN_COUNT_LOW, "a wrong PIN was given"),
)
_KEY_FACTS = {
    "always_authenticate": Attribute.ALWAYS_AUTHENTICATE,
    "sensitive": Attribute.SENSITIVE,
    "extractable": Attribute.EXTRACTABLE,
    "local": Attribute.LOCAL,
    "sign": Attribute.SIGN,
    "derive": Attribute.DERIVE,
    "decrypt": Attribute.DECRYPT,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be looked at."""

    module: str
    token: TokenChoice
    logs_in: bool  # False: only what everybody may see
    seconds: float  # for each kind of signature
    idle_s: float  # without a call, before the session is used again


class Teller:
    """Hears what is being done, for the case that the module never comes back, and what was found."""

    def doing(self, what: str, extra_s: float = 0.0) -> None:
        """Something begins that may take `extra_s` longer than a call of a module usually does."""
        raise NotImplementedError

    def found(self, part: str, value: object) -> None:
        """A part of the report."""
        raise NotImplementedError

    def pin(self, label: str, serial: str) -> str:
        """Of this token, once it is known to take one. Where it is not to be tried, it does not come back."""
        raise NotImplementedError


def probe(wish: Wish, teller: Teller) -> None:
    """Tells all that can be known. Raises TokenError."""
    teller.doing("loading the module")
    library = load_module(wish.module)
    teller.found("module", _module(library, wish.module))
    teller.doing("looking for tokens")
    token = chosen_token(library, wish.token)
    teller.found("token", _token(token))
    teller.doing("asking for its mechanisms")
    with translated("asking for its mechanisms"):
        mechanisms = [_mechanism(token.slot, each) for each in token.slot.get_mechanisms()]
    teller.found("mechanisms", sorted(mechanisms, key=lambda each: str(each["name"])))
    session, pin = _session(token, wish, teller)
    teller.doing("listing its keys")
    with translated("listing its keys"):
        keys = sorted(_keys(session), key=lambda key: (_label(key), _id(key)))
        teller.found("keys", [_key(key) for key in keys])
    if wish.logs_in:
        _try_keys(session, pin, keys, wish, teller, {str(each["name"]) for each in mechanisms})


def _session(token: pkcs11.Token, wish: Wish, teller: Teller) -> tuple[pkcs11.Session, str]:
    """And the PIN with which it was opened."""
    if not wish.logs_in:
        teller.doing("opening a session")
        with translated("opening a session"):
            return token.open(), ""
    demand_tries(token)
    names = _names(token)
    pin = teller.pin(names["label"], names["serial"])
    teller.doing("logging in")
    begun = time.monotonic()
    with translated("logging in"):
        session = token.open(user_pin=pin)
    teller.found("login_ms", round(1_000 * (time.monotonic() - begun), 1))
    return session, pin


def _try_keys(
    session: pkcs11.Session, pin: str, keys: list[Any], wish: Wish, teller: Teller, mechanisms: set[str]
) -> None:
    trials = KeyTrials(session, pin, mechanisms)
    tried = []
    for key in keys:
        for name, trial in trials.of(key):
            teller.doing(f"trying {name} with the key {_label(key)!r}", wish.seconds)
            tried.append({"key": _label(key), "id": _id(key), **trials.timed(name, trial, wish.seconds)})
            teller.found("tried", tried)
    if wish.idle_s:
        teller.doing(f"waiting {wish.idle_s:g} s without a call", wish.idle_s)
        time.sleep(wish.idle_s)
        teller.doing(f"using the session after {wish.idle_s:g} s without a call")
        teller.found("idle", {"seconds": wish.idle_s, "outcome": _outcome(trials.once)})


def _outcome(use: Callable[[], object]) -> str:
    try:
        use()
    except PKCS11Error as error:
        return described(error)
    return "the session lives"


def _names(token: pkcs11.Token) -> dict[str, str]:
    serial = token.serial.decode("ascii", "replace").strip("\0 ")
    return {
        "label": _text(token.label),
        "serial": _text(serial),
        "manufacturer": _text(token.manufacturer_id),
        "model": _text(token.model),
    }


def _module(library: Any, path: str) -> dict[str, object]:
    return {
        "path": path,
        "manufacturer": _text(library.manufacturer_id),
        "description": _text(library.library_description),
        "version": _version(library.library_version),
        "pkcs11": _version(library.cryptoki_version),
    }


def _token(token: pkcs11.Token) -> dict[str, object]:
    flags = token.flags
    pin = next((words for flag, words in _PIN_STATES if flags & flag), "as it should be")
    if not flags & TokenFlag.USER_PIN_INITIALIZED:
        pin = "not set"
    return {
        **_names(token),
        "firmware": _version(token.firmware_version),
        "hardware": _version(token.hardware_version),
        "pin": pin,
        "flags": sorted(str(flag.name) for flag in TokenFlag if flags & flag),
    }


def _mechanism(slot: pkcs11.Slot, mechanism: Any) -> dict[str, object]:
    info = slot.get_mechanism_info(mechanism)
    return {
        "name": getattr(mechanism, "name", None) or f"{int(mechanism):#010x}",
        "least": info.min_key_length or 0,
        "most": info.max_key_length or 0,
        "flags": sorted(str(flag.name) for flag in MechanismFlag if info.flags & flag),
    }


def _keys(session: pkcs11.Session) -> Iterator[Any]:
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY):
        for number, key in enumerate(session.get_objects({Attribute.CLASS: kind})):
            if number >= _MOST_OBJECTS:
                raise TokenError(f"the token lists more than {_MOST_OBJECTS} keys: does it ever end?")
            yield key


def _key(key: Any) -> dict[str, object]:
    facts = {name: attribute_of(key, attribute) for name, attribute in _KEY_FACTS.items()}
    kind = attribute_of(key, Attribute.KEY_TYPE)
    return {"label": _label(key), "id": _id(key), "type": _type(key, kind), **facts}


def _type(key: Any, kind: Any) -> str:
    name = str(getattr(kind, "name", kind))
    parameters = attribute_of(key, Attribute.EC_PARAMS)
    if isinstance(parameters, bytes):
        return f"{name} {_CURVES.get(parameters.hex(), parameters.hex()[:40])}"
    modulus = attribute_of(key, Attribute.MODULUS)
    if isinstance(modulus, bytes):
        return f"{name} {8 * len(modulus.lstrip(bytes(1)))}"
    return name


_CURVES = {
    "06082a8648ce3d030107": "P-256",
    "06052b81040022": "P-384",
    "06052b81040023": "P-521",
    "06032b6570": "Ed25519",
    "130c656477617264733235353139": "Ed25519",
}


def _label(key: Any) -> str:
    return _text(attribute_of(key, Attribute.LABEL) or "")


def _id(key: Any) -> str:
    return (attribute_of(key, Attribute.ID) or b"").hex()[:_TEXT]


def _text(said: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in said[:_TEXT])


def _version(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
