"""For programs under libfaketime, whose clock_nanosleep calls a deadline that has just passed invalid: Python
then raises OSError from time.sleep. select waits as long, and has no deadline."""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
