"""Runs one operation many times, so many at once, and says how fast that went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Rate:
    """What a run showed. Latencies are those of single operations, in milliseconds."""

    at_once: int
    operations: int
    per_s: float
    p50_ms: float
    p99_ms: float

    def as_json(self) -> dict[str, Any]:
        """For the report, rounded to what is meaningful."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


async def measure(
    items: Sequence[ItemT], operation: Callable[[ItemT, int], Awaitable[None]], *, at_once: int
) -> Rate:
    """Runs `operation(item, worker)` over all items with `at_once` workers. An error ends the measurement."""
    queue = iter(items)
    latencies: list[float] = []

    async def work(worker: int) -> None:
        for item in queue:
            begun = time.perf_counter()
            await operation(item, worker)
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for worker in range(at_once):
            group.create_task(work(worker))
    seconds = time.perf_counter() - begun
    latencies.sort()
    return Rate(
        at_once=at_once,
        operations=len(items),
        per_s=len(items) / seconds,
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * 1000,
    )
