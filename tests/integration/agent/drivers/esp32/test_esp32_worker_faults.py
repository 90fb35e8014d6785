"""A worker that dies, hangs or talks nonsense, or a port that is pulled out, at any command."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import BoardError, LineError
from agent.ports import Firmware
from boards.esp32.boot import BootChain
from harness import esp32_faulty_worker
from harness.esp32_rig import finish, is_locked, prepare, rig, until_done

pytestmark = pytest.mark.check

COMMANDS = ("open", "prepare", "digests", "write", "burned", "burn", "run", "close")
FAULTS = [
    *itertools.product(COMMANDS, ("die", "unplug")),
    *itertools.product(("open", "write"), ("hang", "junk", "wrong")),
]

# One that hangs takes all of its time; it has to be enough for the process to start and read the command.
TIMEOUTS = {
    "hang": {"connect_timeout_s": 6.0, "write_timeout_s": 2.0},
    "other": {"connect_timeout_s": 15.0, "write_timeout_s": 8.0},
}


@pytest.mark.parametrize(("command", "fault"), FAULTS)
async def test_a_worker_or_port_that_fails_in_a_command(
    command: str, fault: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    waiting = tmp_path / "fault"
    waiting.touch()
    script = str(Path(esp32_faulty_worker.__file__))
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(bundle, **TIMEOUTS["hang" if fault == "hang" else "other"]) as driver:
            driver._port._worker._command = (sys.executable, "-P", script, str(waiting), command, fault)
            driver._port.loader._worker = driver._port._worker
            try:
                await prepare(driver)
                await finish(driver)
                failed = None
            except (LineError, BoardError) as error:
                failed = error
        assert not waiting.exists(), "the fault has happened"
        if failed is not None:
            assert failed.retryable, failed
        board = await until_done(it, bundle)
        assert board.sealed
        assert is_locked(it)
        assert it.chip.efuses.get("DIS_DIRECT_BOOT")
