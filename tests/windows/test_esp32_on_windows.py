"""A chip of the ESP32 family on a COM port of Windows: esptool's worker, the bundle, the locks, the stamp.

What Wine cannot show: reset by DTR and RTS, for a pty has neither. A command presses the buttons, as on
fixtures with relays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.esp32.signing import SigningKey
from harness import esp32_line
from harness.windows_pc import WindowsPc, windows_pc
from harness.windows_station import make_locked_product

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPc]:
    with windows_pc(tmp_path_factory.mktemp("pc")) as pc:
        yield pc


def test_an_empty_chip_becomes_a_locked_product(pc: WindowsPc, tmp_path: Path) -> None:
    with esp32_line.Esp32Line(tmp_path, "esp32s3", SigningKey.make(tmp_path)) as line:
        make_locked_product(pc, line)
