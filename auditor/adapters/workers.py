"""Judges records in worker processes, as many as there are processors to use.

    with Workers(2, identities) as judges:
        later = judges.submit(batch)
        outcomes = later()

Few records are judged here: processes begin with the first batch that would wait. Outcomes are the same
either way, and are taken in the order in which batches were given. A worker that ends before its time ends
the run: what was not judged never counts as judged.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from auditor.core.identities import Identities
from auditor.errors import WorkerEnded
from auditor.judging import Batch, Judge, Outcome

ALONE = 1_000  # records that are judged in this process before others are started
_judge: Judge | None = None  # of a worker process


class Workers:
    """`auditor.ports.Judges`. With `count` 1 all is judged in this process."""

    def __init__(self, count: int, identities: Identities | None, *, alone: int = ALONE) -> None:
        self.count = count
        self._identities = identities
        self._alone = alone
        self._own = Judge(identities)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def submit(self, batch: Batch) -> Callable[[], list[Outcome]]:
        """See `auditor.ports.Judges`."""
        self._alone -= len(batch.jobs)
        if self.count == 1 or self._alone >= 0:
            outcomes = self._own.judge(batch)
            return lambda: outcomes
        if self._pool is None:
            # Spawned everywhere: a forked process would share gRPC's threads and locks.
            self._pool = ProcessPoolExecutor(
                self.count, multiprocessing.get_context("spawn"), _begin, (self._identities,)
            )
        try:
            later = self._pool.submit(_work, batch)
        except BrokenProcessPool as error:
            raise _ended() from error

        def outcomes_of() -> list[Outcome]:
            try:
                return later.result()
            except BrokenProcessPool as error:
                raise _ended() from error

        return outcomes_of


def usual_count() -> int:
    """As many as this machine has processors, at most 8: what is left to the main process keeps no more
    busy."""
    return min(8, os.cpu_count() or 1)


def _begin(identities: Identities | None) -> None:
    global _judge  # noqa: PLW0603 (a worker process has one)
    _judge = Judge(identities)


def _work(batch: Batch) -> list[Outcome]:
    if _judge is None:
        raise RuntimeError("a worker that was not begun")
    return _judge.judge(batch)


def _ended() -> WorkerEnded:
    return WorkerEnded(
        "a worker process ended before its time, as the system ends one when memory is short: run again with"
        " --workers 1. What was verified before is kept"
    )
