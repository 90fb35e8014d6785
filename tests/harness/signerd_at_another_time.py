"""The real signerd, whose wall clock is off by what a file says.

    python tests/harness/signerd_at_another_time.py OFFSET run --config FILE

OFFSET holds seconds; without the file the clock is right. The seconds since boot are not moved, and
neither is the key holder's clock. signerd has no hook of its own for this.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from signerd import wiring
from signerd.__main__ import main
from signerd.adapters import clock
from signerd.adapters.rpc import status
from signerd.core.clock import Reading


def arm(offset: Path) -> None:
    """Moves the clock that signerd reads."""
    genuine = clock.read_clocks

    def read() -> Reading:
        reading = genuine()
        off_s = float(offset.read_text(encoding="ascii")) if offset.exists() else 0.0
        return Reading(reading.wall + timedelta(seconds=off_s), reading.since_boot_s)

    places: tuple[Any, ...] = (wiring, status)
    for place in places:
        place.read_clocks = read
    defaults: Any = clock.ClockGuard.__init__.__kwdefaults__
    defaults["read"] = read


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv = ["signerd", *sys.argv[2:]]
    main()
