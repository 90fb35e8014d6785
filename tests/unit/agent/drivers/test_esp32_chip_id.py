"""A chip whose loader tells an address that names no chip is refused before anything is done with it."""

from __future__ import annotations

import pytest

from agent.adapters.drivers.esp32.chip import ChipReport
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.esp32.port_sides import PortSides
from agent.errors import BoardError
from agent.ports import BoardIdentity, KeyState

MAC = "7c:df:a1:00:01:00"


def _sides(monkeypatch: pytest.MonkeyPatch, mac: str, *, locked: bool = False) -> PortSides:
    """A port on which a loader answers, of a station that flashes: the firmware is not asked."""
    report = ChipReport(
        chip="esp32s3",
        description="ESP32-S3",
        revision=2,
        mac=mac,
        secure_download=False,
        secure_boot=False,
        secure_boot_v1=False,
        digests=(),
        crypt_count=7 if locked else 0,
        crypt_count_fixed=False,
        key_burned=False,
        debug_closed=False,
    )
    sides = PortSides("/nowhere", Esp32Options(), flashes=True)

    async def answers(attempts: int | None = None) -> ChipReport:  # noqa: ARG001
        return report

    monkeypatch.setattr(sides.loader, "open", answers)
    return sides


async def test_a_chip_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await _sides(monkeypatch, MAC).identify()).chip_id == MAC


@pytest.mark.parametrize(
    "mac",
    [
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "22:22:22:22:22:22",
        "00:00:00:00:01:00",
    ],
)
async def test_a_chip_whose_fuses_were_never_written(monkeypatch: pytest.MonkeyPatch, mac: str) -> None:
    with pytest.raises(BoardError) as refused:
        await _sides(monkeypatch, mac).identify()
    assert refused.value.code == "bad_chip_id"
    assert "Put the board aside" in refused.value.remedy


def _answers(monkeypatch: pytest.MonkeyPatch, sides: PortSides, chip_id: str) -> None:
    """The firmware of the chip answers, and says this id."""
    board = BoardIdentity("sensor", chip_id, {}, {}, (), (), KeyState.NONE, None, None, False, 1024)

    async def starts(*_: object, **__: object) -> BoardIdentity:
        return board

    monkeypatch.setattr(sides, "_start", starts)


async def _looked_at_and_started(sides: PortSides) -> str:
    await sides.identify()
    return (await sides.boot(1.0)).chip_id


@pytest.mark.parametrize("locked", [False, True], ids=["after it was flashed", "a chip that is locked"])
@pytest.mark.parametrize(
    ("says", "code", "remedy"),
    [
        ("7c:df:a1:00:01:01", "chip_changed", "custom one or that of Wi-Fi or Bluetooth"),
        (MAC.upper(), "bad_chip_id", "Put the board aside"),
        ("01:00:5e:00:00:01", "bad_chip_id", "Put the board aside"),
    ],
    ids=["that of Wi-Fi", "in capitals", "multicast"],
)
async def test_firmware_that_says_another_id_than_the_loader(
    monkeypatch: pytest.MonkeyPatch, locked: bool, says: str, code: str, remedy: str
) -> None:
    sides = _sides(monkeypatch, MAC, locked=locked)
    _answers(monkeypatch, sides, says)
    with pytest.raises(BoardError) as refused:
        await _looked_at_and_started(sides)
    assert refused.value.code == code
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("locked", [False, True])
async def test_firmware_that_says_the_loaders_id(monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    sides = _sides(monkeypatch, MAC, locked=locked)
    _answers(monkeypatch, sides, MAC)
    assert await _looked_at_and_started(sides) == MAC


async def test_an_id_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firmware says what it likes: of this family only an address is an id."""
    with pytest.raises(BoardError) as refused:
        _sides(monkeypatch, MAC)._found("CHIP-000001", None)
    assert refused.value.code == "bad_chip_id"
