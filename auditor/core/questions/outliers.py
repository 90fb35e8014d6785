"""Days of a station that differ from all others more than chance does.

A share is compared with the one of all other days of the same answer. Were the day like those, the number
of its cases would be binomial: it is an outlier where it lies more than `DEVIATIONS` standard deviations
above. Of few boards nothing is said, for there the rule does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

DEVIATIONS = 3.0
LEAST_OF = 20  # boards or calls of a day, and of all others
LEAST_CASES = 5


@dataclass(frozen=True, slots=True)
class Share:
    """So many cases of so many."""

    cases: int = 0
    of: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.cases + other.cases, self.of + other.of)

    def __sub__(self, other: Share) -> Share:
        return Share(self.cases - other.cases, self.of - other.of)


def is_outlier(one: Share, everyone: Share) -> bool:
    """True if `one`, which is part of `everyone`, has more cases than the others explain."""
    others = everyone - one
    if one.of < LEAST_OF or others.of < LEAST_OF or one.cases < LEAST_CASES:
        return False
    usual = (others.cases + 1) / (others.of + 2)  # Laplace: none among few others is not never
    return one.cases - one.of * usual > DEVIATIONS * sqrt(one.of * usual * (1 - usual))
