"""A PIN that is sealed under a TPM 2.0 (docs/formats.md, "Sealed PIN").

A TPM seals a key of 32 bytes, which it gives back on its own machine alone; the PIN, padded to one length, is
encrypted under that key. Guarantees: a file that is read is bounded and has one spelling, and opening it
authenticates every member. It does not say who sealed: whoever may write the file can put another PIN in its
place, and learns none by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signerd.core.tpm_reference import PCRS

MAX_FILE = 16_384  # bytes; some 1,500 in fact
MAX_PIN = 255  # bytes; PKCS #11 leaves the bound to the token, and none allows more
KEY_BYTES = 32  # AES-256
_FORMAT = "birthmark-tpm-pin-v1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_AREA = 2_048  # bytes of a TPM's structure
_PADDED = 1 + MAX_PIN
_PERSISTENT = range(0x8100_0000, 0x8200_0000)  # TPM 2.0 Part 2, section 7.2


class SealedPinError(ValueError):
    """The file is not of its form, or what it holds does not open."""


@dataclass(frozen=True, slots=True)
class TpmObject:
    """A key that a TPM sealed: what it gives back to be kept outside, and under which parent key."""

    parent_handle: int  # of a persistent key; 0: the primary key of the owner's, made anew each time
    parent_name: bytes  # of that key (TPM 2.0 Part 1, section 16): another TPM has another
    public: bytes  # TPM2B_PUBLIC
    private: bytes  # TPM2B_PRIVATE, encrypted by the parent
    pcrs: tuple[int, ...]  # whose values (SHA-256) have to be as they were; empty: none


@dataclass(frozen=True, slots=True)
class SealedPin:
    """The file."""

    key: TpmObject
    nonce: bytes
    encrypted: bytes  # AES-256-GCM, with its tag

    def encode(self) -> bytes:
        """The file's bytes."""
        item = {**_head(self.key), "nonce": self.nonce.hex(), "encrypted": self.encrypted.hex()}
        return rfc8785.dumps(item) + b"\n"

    @classmethod
    def seal(cls, pin: bytes | bytearray, held: bytes, key: TpmObject, nonce: bytes) -> Self:
        """Encrypts the PIN, of 1 to 255 bytes, under `held`, the key that the TPM sealed as `key`.

        Raises SealedPinError: a PIN of another length.
        """
        if not 1 <= len(pin) <= MAX_PIN:
            raise SealedPinError(f"a PIN has 1 to {MAX_PIN} bytes")
        # Padded: the length of a PIN is half of guessing it.
        padded = bytes([len(pin), *pin]).ljust(_PADDED, b"\0")
        return cls(key, nonce, AESGCM(held).encrypt(nonce, padded, rfc8785.dumps(_head(key))))

    def open(self, held: bytes) -> bytearray:
        """The PIN. Raises SealedPinError: the file was altered, or the key is another one."""
        try:
            padded = AESGCM(held).decrypt(self.nonce, self.encrypted, rfc8785.dumps(_head(self.key)))
        except (InvalidTag, ValueError) as error:
            raise SealedPinError("it does not open with the key that the TPM gave: it was altered") from error
        return bytearray(padded[1 : 1 + padded[0]])


def read_sealed_pin(data: bytes) -> SealedPin:
    """Reads the file. Raises SealedPinError: it is too large, or of another form or spelling."""
    if len(data) > MAX_FILE:
        raise SealedPinError(f"more than {MAX_FILE} bytes")
    try:
        sealed = _parse(json.loads(data))
        canonical = sealed.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SealedPinError(f"not {_FORMAT}") from error
    if canonical != data:
        raise SealedPinError("not in its one spelling (RFC 8785 and a newline)")
    _check(sealed)
    return sealed


def _head(key: TpmObject) -> dict[str, Any]:
    """What stands beside the ciphertext, and is authenticated with it."""
    return {
        "format": _FORMAT,
        "parent_handle": f"{key.parent_handle:08x}",
        "parent_name": key.parent_name.hex(),
        "pcrs": list(key.pcrs),
        "private": key.private.hex(),
        "public": key.public.hex(),
    }


def _parse(item: object) -> SealedPin:
    match item:
        case {
            "format": "birthmark-tpm-pin-v1",
            "parent_handle": str(handle),
            "parent_name": str(name),
            "pcrs": list(pcrs),
            "private": str(private),
            "public": str(public),
            "nonce": str(nonce),
            "encrypted": str(encrypted),
        } if isinstance(item, dict) and len(item) == 8 and all(type(pcr) is int for pcr in pcrs):
            areas = (bytes.fromhex(name), bytes.fromhex(public), bytes.fromhex(private))
            key = TpmObject(int(handle, 16), *areas, pcrs=tuple(pcrs))
            return SealedPin(key, bytes.fromhex(nonce), bytes.fromhex(encrypted))
        case _:
            raise SealedPinError(f"not {_FORMAT}")


def _check(sealed: SealedPin) -> None:
    key = sealed.key
    if key.parent_handle != 0 and key.parent_handle not in _PERSISTENT:
        raise SealedPinError("the parent key is no persistent one")
    if not all(0 < len(area) <= _MAX_AREA for area in (key.public, key.private, key.parent_name)):
        raise SealedPinError("what the TPM gave is missing or too large")
    if list(key.pcrs) != sorted(set(key.pcrs)) or any(not 0 <= pcr < PCRS for pcr in key.pcrs):
        raise SealedPinError("the PCRs are not of their form")
    if len(sealed.nonce) != _NONCE_BYTES or len(sealed.encrypted) != _PADDED + _TAG_BYTES:
        raise SealedPinError("the ciphertext is not of its length")
