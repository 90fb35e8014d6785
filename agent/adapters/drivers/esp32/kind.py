"""The family, as an entry point names it."""

from __future__ import annotations

from agent.adapters.drivers.esp32.bundle_check import check_firmware
from agent.adapters.drivers.esp32.driver import Esp32Driver
from agent.adapters.drivers.esp32.options import parse_options
from agent.adapters.drivers.esp32.recipe import DEFAULT_RECIPE
from agent.core.recipe import StepName
from agent.ports import DriverKind

DRIVER = DriverKind(
    steps=frozenset(StepName),
    open=Esp32Driver,
    default_recipe=DEFAULT_RECIPE,
    check_firmware=check_firmware,
    check_options=parse_options,
)
