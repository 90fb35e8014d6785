"""What a board's firmware says of itself, through a driver."""

from __future__ import annotations

from agent.ports import BoardIdentity, Driver


async def hello(driver: Driver) -> BoardIdentity:
    """The firmware's word; it must answer."""
    found = await driver.identify()
    assert found.board is not None
    assert found.board.chip_id == found.chip_id
    return found.board
