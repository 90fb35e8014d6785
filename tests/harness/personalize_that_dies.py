"""The real `signerd chips personalize`, which ends with SIGKILL before or after it registers the chips.

python tests/harness/personalize_that_dies.py before chips personalize …
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from signerd.__main__ import main
from signerd.adapters.cli import personalize


def _die(*_arguments: Any, **_named: Any) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL came back")


def arm(when: str) -> None:
    """Puts the death where it belongs: instead of the registration, or of the first thing after it."""
    if when == "before":
        personalize._Registering.register = _die  # type: ignore[method-assign]
    else:
        register = personalize._Registering.register

        def registers_and_dies(*arguments: Any, **named: Any) -> int:
            register(*arguments, **named)
            return _die()

        personalize._Registering.register = registers_and_dies  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(sys.argv[1])
    sys.argv = ["signerd", *sys.argv[2:]]
    main()
