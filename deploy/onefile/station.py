"""The self-contained station's program."""

import os

# The loader's search path is for this program alone. What it starts (a command for results, a fixture's
# reset) gets the one that was there before.
_before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
os.environ.pop("LD_LIBRARY_PATH", None)
if _before is not None:
    os.environ["LD_LIBRARY_PATH"] = _before

from agent.__main__ import main  # noqa: E402 -- what it imports starts nothing yet, and reads the environment

main()
