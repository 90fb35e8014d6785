"""The command that gets chips' keys holds thousands of secrets: none of them may reach a core file, or
another process of the same user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from signerd.config import HsmSettings

PROGRAM = """
import asyncio, ctypes, json, resource, sys
from signerd.adapters.keyholder import personalization
from signerd.config import HsmSettings

PR_GET_DUMPABLE = 3


def state():
    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return {"core": core, "dumpable": ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)}


class AtTheToken(Exception):
    pass


async def open_channel(*_arguments, **_named):
    raise AtTheToken


personalization.open_channel = open_channel
before = state()
hsm = HsmSettings.model_validate_json(sys.stdin.read())
try:
    asyncio.run(personalization.derive_chip_keys(hsm, b"the PIN", ["chip-1"]))
except AtTheToken:
    print(json.dumps([before, state()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_DUMPABLE is Linux's")
def test_nothing_is_derived_before_memory_is_closed(tmp_path: Path) -> None:
    hsm = HsmSettings(module=tmp_path / "module.so", token="token", pin="prompt")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=hsm.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    before, at_the_token = json.loads(done.stdout)
    assert before["dumpable"] == 1
    assert at_the_token == {"core": 0, "dumpable": 0}
