"""Claims, evidence transcripts and settings (docs/formats.md, sections of these names)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from auditor.core import cbor, forms
from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed

MAX_CLAIMS = 4_096  # bytes
MAX_SETTINGS = 8_192  # bytes
_MAX_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Claims:
    """Firmware components as (version, SHA-256), and locks: true is closed."""

    firmware: Mapping[str, tuple[str, bytes]]
    security_state: Mapping[str, bool]

    @property
    def versions(self) -> dict[str, str]:
        """Component to version, as claimed."""
        return {name: version for name, (version, _) in self.firmware.items()}


@lru_cache(maxsize=512)  # the same from board to board, and changed by nobody
def parse_claims(data: bytes) -> Claims:
    """Reads claims. Raises Malformed."""
    match cbor.decode(data, maximum=MAX_CLAIMS):
        case [firmware, security_state]:
            return read_claims(firmware, security_state)
        case _:
            raise Malformed("claims are an array of two maps")


def read_claims(firmware: Any, security_state: Any) -> Claims:
    """Checks the two items of claims, decoded, here or within a stamp. Raises Malformed."""
    if not isinstance(firmware, dict) or not isinstance(security_state, dict):
        raise Malformed("claims are an array of two maps")
    if max(len(firmware), len(security_state)) > _MAX_ITEMS:
        raise Malformed("too many components or locks")
    for name in (*firmware, *security_state):
        forms.component(name)
    for lock in security_state.values():
        forms.boolean(lock)
    return Claims({name: _component(value) for name, value in firmware.items()}, security_state)


def _component(value: Any) -> tuple[str, bytes]:
    match value:
        case [str(version), bytes(measured)] if len(measured) == 32:
            forms.version_key(version)
            return version, measured
        case _:
            raise Malformed("a component is not [version, 32 bytes]")


def ledger_claims(value: Any) -> Claims:
    """Claims as an entry holds them: digests in hexadecimal. Raises Malformed."""
    if not isinstance(value, dict) or value.keys() != {"firmware", "security_state"}:
        raise Malformed("is not an object of firmware and security_state")
    return read_claims(_firmware(value["firmware"]), value["security_state"])


def ledger_firmware(value: Any) -> Mapping[str, tuple[str, bytes]]:
    """The firmware that an order names, as its entry holds it: components as in claims. Raises Malformed."""
    if value == {}:
        raise Malformed("names no component")
    return read_claims(_firmware(value), {}).firmware


def _firmware(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("has a firmware that is not an object")
    return {name: _with_bytes(component) for name, component in value.items()}


def _with_bytes(component: Any) -> list[Any]:
    match component:
        case [version, measured]:
            return [version, forms.digest(measured)]
        case _:
            raise Malformed("has a component that is not [version, digest]")


def check_minimum(versions: Mapping[str, str], minimum: Mapping[str, str]) -> None:
    """Raises CheckFailed FIRMWARE_TOO_OLD where a component is absent or below its minimum."""
    for name, least in minimum.items():
        version = versions.get(name)
        if version is None or forms.version_key(version) < forms.version_key(least):
            raise CheckFailed(
                Code.FIRMWARE_TOO_OLD,
                f"firmware {name}",
                expected=f"at least {least}",
                found=version or "absent",
            )


def check_firmware(
    said: Mapping[str, tuple[str, bytes]], named: Mapping[str, tuple[str, bytes]] | None
) -> None:
    """Raises CheckFailed FIRMWARE_DIFFERS where a component that the order names is absent or another one."""
    for name, component in (named or {}).items():
        found = said.get(name)
        if found != component:
            raise CheckFailed(
                Code.FIRMWARE_DIFFERS,
                f"firmware {name} in the stamp is not the order's",
                expected=component_text(component),
                found="absent" if found is None else component_text(found),
            )


def component_text(component: tuple[str, bytes]) -> str:
    """A component as it stands in findings."""
    version, digest = component
    return f"{version} {digest.hex()}"


def firmware_text(firmware: Mapping[str, tuple[str, bytes]]) -> str:
    """Components as they stand in findings, in the order of their names."""
    return ", ".join(f"{name} {component_text(component)}" for name, component in sorted(firmware.items()))


def transcript(*, challenge: bytes, chip_id: str, csr_sha256: bytes, claims: Claims) -> bytes:
    """The evidence transcript: what the board signed or MACed."""
    return cbor.encode(
        [
            "birthmark-evidence-v1",
            challenge,
            chip_id,
            csr_sha256,
            {name: list(value) for name, value in claims.firmware.items()},
            dict(claims.security_state),
        ]
    )


def split_settings(data: bytes) -> tuple[str, bytes]:
    """The serial number in a board's settings, and the order's settings without it. Raises Malformed."""
    value = cbor.decode(data, maximum=MAX_SETTINGS)
    if not isinstance(value, dict) or not isinstance(value.get("serial"), str):
        raise Malformed('settings are a map with "serial"')
    serial_number = value.pop("serial")
    return serial_number, cbor.encode(value)
