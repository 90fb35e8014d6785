"""A chip whose loader tells an address that names no chip is refused before anything is done with it."""

from __future__ import annotations

import pytest

from agent.adapters.drivers.esp32.chip import ChipReport
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.esp32.port_sides import PortSides
from agent.errors import BoardError

MAC = "7c:df:a1:00:01:00"


def _sides(monkeypatch: pytest.MonkeyPatch, mac: str) -> PortSides:
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
        crypt_count=0,
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


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"])
async def test_a_chip_whose_fuses_were_never_written(monkeypatch: pytest.MonkeyPatch, mac: str) -> None:
    with pytest.raises(BoardError) as refused:
        await _sides(monkeypatch, mac).identify()
    assert refused.value.code == "bad_chip_id"
    assert "Put the board aside" in refused.value.remedy


async def test_an_id_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firmware says what it likes: of this family only an address is an id."""
    with pytest.raises(BoardError) as refused:
        _sides(monkeypatch, MAC)._found("CHIP-000001", None)
    assert refused.value.code == "bad_chip_id"
