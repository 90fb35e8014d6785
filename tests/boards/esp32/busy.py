"""When a simulated chip or its line was at work: what of a board's time is not the station's.

Times are those of the event loop's clock (`time.monotonic`). What overlaps counts once: the line brings the
next block while the flash takes the last one.
"""

from __future__ import annotations

_GAP_S = 1e-4  # below it two spans are one: a byte takes as long at 115,200 baud


class Busy:
    """Spans of time, merged."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def add(self, start: float, end: float) -> None:
        """From `start` to `end` something was at work; ends come in any order."""
        while self._spans and start <= self._spans[-1][1] + _GAP_S:
            before, after = self._spans.pop()
            start, end = min(start, before), max(end, after)
        self._spans.append((start, end))

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Start and end of each, in their order."""
        return list(self._spans)
