"""A board's storage in the `nvs` partition: two copies in turn, so that each write is whole or not at all.

A copy is a header with counter and digest, and all items; the valid copy with the higher counter counts.
Where it is encrypted its key lies in `nvs_keys`, which flash encryption covers. `migrate` leaves nothing
plain behind, whenever the power fails.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

import cbor2

from boards.esp32.flash import Flash
from boards.esp32.flash_cipher import CachedFlash
from boards.esp32.partitions import DATA_NVS, DATA_NVS_KEYS, SECTOR, Partition
from boards.storage import StorageFull

_HEADER = struct.Struct("<4sII32s")
_PLAIN, _ENCRYPTED, _KEYS = b"NVSP", b"NVSE", b"NVSK"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Copy:
    slot: int
    counter: int
    encrypted: bool
    items: dict[str, bytes]


class NvsStorage:
    """Named byte strings in flash (`boards.storage.Store`).

    Args:
        flash: the cells; `nvs` is never covered by flash encryption itself.
        cached: flash as running code sees it, for `nvs_keys`.
        partitions: the table that the firmware was started with.

    Raises:
        ValueError: the table has no `nvs`.
    """

    def __init__(self, flash: Flash, cached: CachedFlash, partitions: tuple[Partition, ...]) -> None:
        self._flash = flash
        self._cached = cached
        data = {part.subtype: part for part in reversed(partitions) if part.type == 1}
        if DATA_NVS not in data:
            raise ValueError("no NVS partition")
        self._nvs = data[DATA_NVS]
        self._keys = data.get(DATA_NVS_KEYS)
        self._slot_bytes = self._nvs.size // 2 // SECTOR * SECTOR
        self._current = self._newest()

    @property
    def encrypted(self) -> bool:
        """Whether what is stored is encrypted, and nothing of it stands in plain."""
        return self._current.encrypted and self._is_clean(1 - self._current.slot)

    @property
    def names(self) -> list[str]:
        """Of the items."""
        return sorted(self._current.items)

    def get(self, name: str) -> bytes | None:
        return self._current.items.get(name)

    def put(self, name: str, value: bytes) -> None:
        if self._current.items.get(name) != value:
            self._write({**self._current.items, name: value}, encrypted=self._current.encrypted)

    def erase(self) -> None:
        self._flash.erase(self._nvs.offset, self._nvs.size)
        self._current = self._newest()

    def migrate(self) -> int:
        """Encrypts all items, with a key that is made here, and erases the plain copies. Returns how many.

        Raises:
            PowerLost: what was stored is stored still; the next call goes on.
            StorageFull: there is no partition for the key.
        """
        if self._keys is None:
            raise StorageFull
        if not self._current.encrypted:
            if self._key() is None:
                self._make_key(self._keys)
            self._write(self._current.items, encrypted=True)
        other = 1 - self._current.slot
        if not self._is_clean(other):
            self._flash.erase(self._address(other), self._slot_bytes)
        return len(self._current.items)

    # --- inside

    def _address(self, slot: int) -> int:
        return self._nvs.offset + slot * self._slot_bytes

    def _is_clean(self, slot: int) -> bool:
        """Whether nothing plain is left there, not even the rest of an erase that the power cut short."""
        cells = self._flash.read(self._address(slot), self._slot_bytes)
        return cells.startswith(_ENCRYPTED) or cells.count(b"\xff") == len(cells)

    def _newest(self) -> _Copy:
        valid = [copy for copy in (self._read(slot) for slot in (0, 1)) if copy is not None]
        return max(valid, key=lambda copy: copy.counter, default=_Copy(1, 0, encrypted=False, items={}))

    def _read(self, slot: int) -> _Copy | None:
        cells = self._flash.read(self._address(slot), self._slot_bytes)
        magic, counter, length, digest = _HEADER.unpack_from(cells)
        if magic not in {_PLAIN, _ENCRYPTED} or length > self._slot_bytes - _HEADER.size:
            return None
        payload = cells[_HEADER.size : _HEADER.size + length]
        if magic == _ENCRYPTED:
            key = self._key()
            if key is None:
                return None
            payload = _mask(key, counter, payload)
        if digest != _digest(magic, counter, payload):
            return None
        return _Copy(slot, counter, magic == _ENCRYPTED, cbor2.loads(payload))

    def _write(self, items: dict[str, bytes], *, encrypted: bool) -> None:
        magic, counter = _ENCRYPTED if encrypted else _PLAIN, self._current.counter + 1
        payload = cbor2.dumps(items, canonical=True)
        if len(payload) > self._slot_bytes - _HEADER.size:
            raise StorageFull
        header = _HEADER.pack(magic, counter, len(payload), _digest(magic, counter, payload))
        key = self._key() if encrypted else None
        body = payload if key is None else _mask(key, counter, payload)
        slot = 1 - self._current.slot
        self._flash.erase(self._address(slot), self._slot_bytes)
        self._flash.program(self._address(slot), header + body)
        self._current = _Copy(slot, counter, encrypted, items)

    def _key(self) -> bytes | None:
        if self._keys is None:
            return None
        stored = self._cached.read(self._keys.offset, len(_KEYS) + _KEY_BYTES + 32)
        key, digest = stored[len(_KEYS) :][:_KEY_BYTES], stored[len(_KEYS) + _KEY_BYTES :]
        return key if stored.startswith(_KEYS) and digest == hashlib.sha256(key).digest() else None

    def _make_key(self, partition: Partition) -> None:
        key = os.urandom(_KEY_BYTES)
        stored = _KEYS + key + hashlib.sha256(key).digest()
        self._flash.erase(partition.offset, SECTOR)
        self._cached.program(partition.offset, stored + bytes(-len(stored) % 16))


def _digest(magic: bytes, counter: int, payload: bytes) -> bytes:
    return hashlib.sha256(magic + struct.pack("<I", counter) + payload).digest()


def _mask(key: bytes, counter: int, data: bytes) -> bytes:
    """Encrypts and decrypts; a counter is never used twice with other content that is kept."""
    stream = hashlib.shake_256(key + struct.pack("<I", counter)).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))
