"""What a board encodes: claims, evidence transcript, stamp, contents (docs/formats.md), with cbor2 alone.

Written from the page and not from signerd's code, so that an error there is not repeated here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import cbor2

Firmware = Mapping[str, tuple[str, bytes]]


def deterministic(item: object) -> bytes:
    """Deterministic CBOR, RFC 8949 section 4.2.1."""
    return cbor2.dumps(item, canonical=True)


def _firmware(firmware: Firmware) -> dict[str, list[object]]:
    return {name: [version, digest] for name, (version, digest) in firmware.items()}


def claims(firmware: Firmware, security_state: Mapping[str, bool]) -> bytes:
    return deterministic([_firmware(firmware), dict(security_state)])


def transcript(
    challenge: bytes, chip_id: str, csr_der: bytes, firmware: Firmware, security_state: Mapping[str, bool]
) -> bytes:
    digest = hashlib.sha256(csr_der).digest()
    return deterministic(
        ["birthmark-evidence-v1", challenge, chip_id, digest, _firmware(firmware), dict(security_state)]
    )


def evidence(chip_secret: bytes, transcript_bytes: bytes) -> bytes:
    """Method `hmac-sha256`."""
    return hmac.digest(chip_secret, transcript_bytes, "sha256")


@dataclass(frozen=True, slots=True)
class StampFields:
    """The stamp's fields before encoding, so that a lying board can change each."""

    challenge: bytes
    chip_id: str
    serial_number: str
    certificate_digest: bytes
    settings_digest: bytes
    firmware: Firmware
    security_state: Mapping[str, bool]
    pop_commitment: bytes | None

    def encode(self) -> bytes:
        return deterministic(
            [
                "birthmark-stamp-v1",
                self.challenge,
                self.chip_id,
                self.serial_number,
                self.certificate_digest,
                self.settings_digest,
                _firmware(self.firmware),
                dict(self.security_state),
                self.pop_commitment,
            ]
        )
