"""Settings: what the work order tells the board to store (docs/formats.md, "Settings")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signerd.core import strict_cbor
from signerd.core.strict_cbor import CborError

MAX_SETTINGS_BYTES = 8192  # also the bound of SignCsrResponse.settings
_SERIAL_BYTES = 80  # room for the "serial" member: key, heads, 64 characters
SERIAL_KEY = "serial"


def encode_settings(settings: Mapping[str, Any]) -> bytes:
    """The canonical CBOR map of a work order's settings, without the serial number.

    Raises:
        CborError: a value of a kind that is not allowed, nested too deep, too large, or a key `serial`.
    """
    if SERIAL_KEY in settings:
        raise CborError(f'"{SERIAL_KEY}" is set by signerd')
    try:
        data = strict_cbor.encode(dict(settings))
    except RecursionError as error:  # TOML's dotted keys nest as deep as a line is long
        raise CborError("nested too deep") from error
    strict_cbor.decode(data, max_bytes=MAX_SETTINGS_BYTES - _SERIAL_BYTES)
    return data


def with_serial(settings: bytes, serial_number: str) -> bytes:
    """The settings as a board gets them: the order's, and its own serial number."""
    item = strict_cbor.decode(settings, max_bytes=MAX_SETTINGS_BYTES - _SERIAL_BYTES)
    return strict_cbor.encode({**item, SERIAL_KEY: serial_number})
