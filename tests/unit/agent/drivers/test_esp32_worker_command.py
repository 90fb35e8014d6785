"""Which program esptool's worker is."""

from __future__ import annotations

import sys

import pytest

from agent.adapters.drivers.esp32.worker_process import worker_command


def test_in_an_environment_it_is_a_module_of_the_same_python() -> None:
    command = worker_command(sys.executable, frozen=False)
    assert command == (sys.executable, "-P", "-m", "agent.adapters.drivers.esp32.worker")


@pytest.mark.parametrize("suffix", ["", ".exe"])
def test_in_a_self_contained_station_it_is_the_program_beside(suffix: str) -> None:
    command = worker_command(f"/opt/birthmark-agent/birthmark-agent{suffix}", frozen=True)
    assert command == (f"/opt/birthmark-agent/birthmark-esptool-worker{suffix}",)
