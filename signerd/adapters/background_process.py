"""A process of signerd's own that holds no secret and works in the background (`stepping_back.py`)."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from signerd.adapters.keyholder.hardening import bare_environment
from signerd.errors import Fault

_SAID = 500  # characters of its last words in our log


@asynccontextmanager
async def background_process(program: Sequence[str], what: str) -> AsyncIterator[Process]:
    """With pipes. However it is left, the process has ended.

    Args:
        program: Python's arguments, as `-m` and a module.
        what: it does, for errors: "the search".

    Raises:
        Fault: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", *program),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=bare_environment(),
        )
    except OSError as error:
        raise Fault(f"cannot start {what}: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def demand_ended_well(process: Process, errors: bytes, what: str) -> None:
    """Raises Fault, with its last words: it did not."""
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip()[-_SAID:]
        raise Fault(f"{what} ended with {process.returncode}: {said}")
