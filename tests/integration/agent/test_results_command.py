"""The command for each result: one that is missing is told once, and so is what it missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.adapters.results.command import ResultCommand
from agent.core.result_row import ResultRow

BOARDS = 20


def row(run: int) -> ResultRow:
    now = "2026-11-20T06:00:00.000+00:00"
    known = ("1.1", "WO-1", f"CHIP-{run}", f"SN-{run}", "aa" * 32)
    return ResultRow(run, now, now, *known, "PASS", "label", "", "", "", 1.0, {})


async def idle(command: ResultCommand) -> None:
    await asyncio.wait(command._tasks)


@pytest.mark.parametrize("comes", [False, True])
async def test_a_missing_command_is_told_once_and_what_it_missed(tmp_path: Path, comes: bool) -> None:
    notices: list[str] = []
    program, told = tmp_path / "tell", tmp_path / "told"
    command = ResultCommand((str(program), str(told)), 5.0, notices.append)
    for run in range(BOARDS):
        command.submit(row(run))
    await idle(command)
    (first,) = notices
    assert f"cannot start {program}" in first
    if comes:
        program.write_text('#!/bin/sh\ncat >> "$1"\n', encoding="utf-8")
        program.chmod(0o755)
        command.submit(row(BOARDS))
        await idle(command)
        assert '"SN-20"' in told.read_text(encoding="utf-8")
    else:
        await command.drain()
    assert notices[1:] == [
        f"results.command was not told of {BOARDS} results: birthmark-agent results has them"
    ]
    notices.clear()
    program.unlink(missing_ok=True)
    for run in range(2):
        command.submit(row(run))
    await idle(command)
    assert len(notices) == 1  # it is missing again
