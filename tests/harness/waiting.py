"""Waiting in the event loop for what announces itself by no event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

PATIENCE_S = 30.0
_POLL_S = 0.005


class WaitedInVainError(AssertionError):
    """It did not come."""


async def until(condition: Callable[[], Any], what: str, *, said: Callable[[], str] = str) -> Any:
    """Looks again and again; returns what the condition gave when it held.

    Args:
        condition: holds when it gives anything true.
        what: is waited for.
        said: what else the error tells.

    Raises:
        WaitedInVainError: it did not hold within half a minute.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := condition()):  # noqa: ASYNC110 # there is no event to wait for
                await asyncio.sleep(_POLL_S)
            return found
    except TimeoutError as error:
        raise WaitedInVainError(f"waited in vain for {what}\n{said()}") from error
