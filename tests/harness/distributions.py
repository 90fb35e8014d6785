"""Whether two kinds of calls can be told apart by the time that they take."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def longer(some: Sequence[float], others: Sequence[float]) -> float:
    """How often one of `some` is longer than one of `others`, over all pairs (Mann and Whitney's U).

    0.5: the times tell nothing. 0 or 1: one call is enough to tell.
    """
    ordered = sorted(others)
    counted = sum(bisect_left(ordered, each) + bisect_right(ordered, each) for each in some)
    return counted / (2 * len(some) * len(others))
