from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from boards.faults import Fault, Faults
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard

MakeBoard = Callable[..., PtyBoard]


@pytest.fixture
async def make_board() -> AsyncIterator[MakeBoard]:
    """Makes running boards: `make_board(*faults, baudrate=0, **fields of BoardModel)`."""
    async with AsyncExitStack() as stack:

        def make(*faults: Fault, baudrate: int = 0, **model: object) -> PtyBoard:
            fields: dict[str, object] = {"chip_id": "CHIP-000001", "secret": bytes(range(32, 64))} | model
            board = SimulatedBoard(BoardModel(**fields), faults=Faults(faults))  # type: ignore[arg-type] # a test's own
            pty = PtyBoard(board, baudrate=baudrate)
            pty.start()
            stack.push_async_callback(pty.stop)
            return pty

        yield make
