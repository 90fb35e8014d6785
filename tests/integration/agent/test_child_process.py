"""A program that the station started ends with its children; one that cannot be ended holds nobody up."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from harness.process import REPOSITORY

# As after `sudo`: what was started is root's, and who started it is not.
END_ANOTHER_USER_S = """
import asyncio, os
from agent.adapters import child_process

child_process._END_S = 0.5

async def end():
    process = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    os.setresuid(65534, 65534, 0)
    print(await child_process.end_group(process), flush=True)
    os.setresuid(0, 0, 0)
    print(await child_process.end_group(process))

asyncio.run(end())
"""
CHILDREN_TOO = """
import asyncio
from agent.adapters.child_process import end_group

async def end():
    command = ["sh", "-c", "sleep 600 & echo $!; wait"]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, start_new_session=True)
    child = int(await process.stdout.readline())
    print(await end_group(process), child)

asyncio.run(end())
"""


def said(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=True)
    return ended.stdout.split()


def test_its_children_end_too() -> None:
    whether, child = said(CHILDREN_TOO)
    assert whether == "True"
    # Where init is not the system's, nobody waits for it.
    assert not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be two users")
def test_one_that_is_another_user_s_is_said_to_go_on() -> None:
    assert said(END_ANOTHER_USER_S) == ["False", "True"]
