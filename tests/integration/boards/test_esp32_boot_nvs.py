"""A simulated chip's storage: each write is whole or not at all; migration leaves nothing plain behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import Flash
from boards.esp32.flash_cipher import CachedFlash
from boards.esp32.nvs import NvsStorage
from boards.esp32.partitions import default_partitions
from boards.esp32.power import PowerLost, PowerSupply
from boards.esp32.security import Security
from boards.storage import StorageFull

PARTITIONS = default_partitions()
SECRET = b"a private key, as it stands in storage"
STEPS = 97  # places between two cuts, in bytes: coprime to the sector, so that all kinds of places come


@dataclass
class _Cells:
    """Flash and eFuses of a chip with flash encryption, without the chip."""

    flash: Flash
    efuses: Efuses
    supply: PowerSupply

    def open(self) -> NvsStorage:
        return NvsStorage(self.flash, CachedFlash(self.flash, self.efuses), PARTITIONS)

    def copy(self) -> _Cells:
        supply = PowerSupply()
        flash = Flash(self.flash.size, supply=supply)
        flash.program(0, self.flash.read(0, self.flash.size))
        return _Cells(flash, self.efuses, supply)

    def plain(self) -> bool:
        nvs = PARTITIONS[0]
        return SECRET in self.flash.read(nvs.offset, nvs.size)


def _encrypting() -> _Cells:
    supply = PowerSupply()
    efuses = Efuses(FAMILIES["esp32c3"].efuses, mac=bytes.fromhex("7cdfa1000001"), supply=supply)
    security = Security(efuses)
    security.make_flash_key()
    security.turn_encryption_on()
    return _Cells(Flash(1 << 18, supply=supply), efuses, supply)


def _cut_anywhere(
    cells: _Cells, work: Callable[[NvsStorage], object], check: Callable[[_Cells], None]
) -> int:
    """Does `work` on copies with the power cut at each of many places, then checks what is left."""
    places = 0
    while True:
        copy = cells.copy()
        storage = copy.open()
        copy.supply.cut_after(flash_bytes=places * STEPS)
        try:
            work(storage)
        except PowerLost:
            copy.supply.cut_after()
            check(copy)
            places += 1
        else:
            return places


def test_a_write_is_whole_or_not_at_all() -> None:
    cells = _encrypting()
    cells.open().put("key", SECRET)
    cells.open().put("config", b"old")

    def check(left: _Cells) -> None:
        storage = left.open()
        assert storage.get("key") == SECRET
        assert storage.get("config") in {b"old", b"new"}
        storage.put("config", b"newer")
        assert left.open().get("config") == b"newer"

    assert _cut_anywhere(cells, lambda storage: storage.put("config", b"new"), check) > 100


def test_migration_loses_nothing_and_leaves_nothing_plain() -> None:
    cells = _encrypting()
    cells.open().put("key", SECRET)
    cells.open().put("config", b"settings")
    assert cells.plain()
    assert not cells.open().encrypted

    def check(left: _Cells) -> None:
        storage = left.open()
        assert storage.get("key") == SECRET
        assert storage.encrypted or storage.migrate() == 2
        assert left.open().encrypted
        assert left.open().get("key") == SECRET
        assert not left.plain()

    assert _cut_anywhere(cells, NvsStorage.migrate, check) > 100


def test_what_is_written_later_is_encrypted_too() -> None:
    cells = _encrypting()
    cells.open().put("config", b"settings")
    cells.open().migrate()
    cells.open().put("key", SECRET)
    assert cells.open().get("key") == SECRET
    assert not cells.plain()


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    cells = _encrypting()
    cells.open().put("key", SECRET)
    with pytest.raises(StorageFull):
        cells.open().put("credential", bytes(PARTITIONS[0].size // 2))
    assert cells.open().names == ["key"]


def test_erasing_forgets_all() -> None:
    cells = _encrypting()
    cells.open().put("key", SECRET)
    cells.open().erase()
    assert cells.open().names == []
    assert not cells.plain()
