"""A station without the extra `esp32` is told what to install."""

from __future__ import annotations

import importlib.metadata

import pytest

from agent.adapters.drivers.registry import find_driver
from agent.errors import ConfigError


@pytest.fixture(name="no_esptool")
def uninstall_esptool(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)


def test_with_esptool_the_driver_is_found() -> None:
    assert find_driver("esp32").check_firmware is not None


@pytest.mark.usefixtures("no_esptool")
def test_without_esptool_the_remedy_names_the_extra() -> None:
    with pytest.raises(ConfigError, match="esptool is not installed") as caught:
        find_driver("esp32")
    assert "wheelhouse of `agent-esp32`" in caught.value.remedy


@pytest.mark.usefixtures("no_esptool")
def test_without_esptool_boards_of_other_drivers_are_made() -> None:
    assert find_driver("smp").check_firmware is None
