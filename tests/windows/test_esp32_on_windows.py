"""A chip of the ESP32 family on a COM port of Windows: esptool's worker, the bundle, the locks, the stamp.

What Wine cannot show: reset by DTR and RTS, for a pty has neither. A command presses the buttons, as on
fixtures with relays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.esp32.signing import SigningKey
from harness import esp32_line
from harness.esp32_farm import RESET_COMMAND
from harness.windows_pc import WindowsPc, windows_path, windows_pc

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPc]:
    with windows_pc(tmp_path_factory.mktemp("pc")) as pc:
        yield pc


def test_an_empty_chip_becomes_a_locked_product(pc: WindowsPc, tmp_path: Path) -> None:
    with esp32_line.Esp32Line(tmp_path, "esp32s3", SigningKey.make(tmp_path)) as line:
        run = line.new_run()
        (chip,) = run.farm.chips
        command = (
            "import os, sys; open(sys.argv[1], 'w').write('reset ' + os.environ['BIRTHMARK_RESET'] + chr(10))"
        )
        press = [
            windows_path(pc.bed / "python" / "python.exe"),
            "-c",
            command,
            windows_path(Path(f"{chip.port}.control")),
        ]
        written = run.config.read_text("utf-8")
        config = written.replace(json.dumps(list(RESET_COMMAND)), json.dumps(press))
        assert config != written
        run.config.write_text(config, "utf-8")
        port = pc.plug(30, chip.port)
        doctor = pc.agent("doctor", "-c", run.config, "--order", run.work_order, "--json")
        wrong = {each["check"] for each in doctor.json() if not each["ok"]}
        assert wrong <= {"ports"}, doctor.text  # Wine lists no port by itself
        with pc.start(
            "run", "-c", run.config, "--order", run.work_order, "--count", "1", "--port", port, "--json"
        ) as program:
            ended = program.wait(240)
        assert ended.code == 0, ended
        line.finished_once(run)
