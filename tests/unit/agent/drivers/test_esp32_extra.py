"""A station without the extra `esp32` is told what to install."""

from __future__ import annotations

import sys

import pytest

from agent.adapters.driver_registry import find_driver
from agent.errors import ConfigError


def test_with_esptool_the_driver_is_found() -> None:
    assert find_driver("esp32").check_firmware is not None


def test_without_esptool_the_remedy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "esptool", None)  # as if it were not installed
    with pytest.raises(ConfigError, match="esptool is not installed") as caught:
        find_driver("esp32")
    assert "pip install birthmark[agent,esp32]" in caught.value.remedy


def test_without_esptool_boards_of_other_drivers_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "esptool", None)
    assert find_driver("smp").check_firmware is None
