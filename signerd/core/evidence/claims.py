"""Claims: what a board says of its firmware and locks (docs/formats.md, "Claims")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signerd.core import strict_cbor
from signerd.core.names import is_component
from signerd.core.strict_cbor import CborError
from signerd.core.version import version_key

MAX_CLAIMS_BYTES = 4096
_MAX_ITEMS = 16
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Claims:
    """Firmware components with version and SHA-256, and locks that are closed (True) or open."""

    firmware: Mapping[str, tuple[str, bytes]]
    security_state: Mapping[str, bool]

    @property
    def versions(self) -> dict[str, str]:
        """Component -> version."""
        return {name: version for name, (version, _) in self.firmware.items()}

    def items(self) -> list[Any]:
        """The two CBOR items, as they stand in claims, transcript and stamp."""
        return [
            {name: [version, digest] for name, (version, digest) in self.firmware.items()},
            dict(self.security_state),
        ]


def parse_claims(data: bytes) -> Claims:
    """Reads the claims that a station sent.

    Raises:
        CborError: not claims.
    """
    item = strict_cbor.decode(data, max_bytes=MAX_CLAIMS_BYTES)
    if not isinstance(item, list) or len(item) != 2:
        raise CborError("claims are an array of two")
    return claims_from_items(item[0], item[1])


def claims_from_items(firmware: Any, security_state: Any) -> Claims:
    """Checks the two decoded items, here and inside a stamp.

    Raises:
        CborError: one of them is not of its form.
    """
    if not isinstance(firmware, dict) or not isinstance(security_state, dict):
        raise CborError("firmware and security state are maps")
    if len(firmware) > _MAX_ITEMS or len(security_state) > _MAX_ITEMS:
        raise CborError(f"more than {_MAX_ITEMS} components or locks")
    if not all(is_component(name) for name in (*firmware, *security_state)):
        raise CborError("a component's or lock's name is not of its form")
    if not all(type(closed) is bool for closed in security_state.values()):
        raise CborError("a lock is neither true nor false")
    return Claims({name: _component(value) for name, value in firmware.items()}, security_state)


def _component(value: Any) -> tuple[str, bytes]:
    match value:
        case [str(version), bytes(digest)] if len(digest) == _DIGEST_BYTES:
            try:
                version_key(version)
            except ValueError as error:
                raise CborError(str(error)) from error
            return version, digest
        case _:
            raise CborError("a firmware component is not [version, SHA-256]")
