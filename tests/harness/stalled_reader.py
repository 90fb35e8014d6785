"""A command whose standard output and standard error are a pipe that is full and that nobody reads.

    python tests/harness/stalled_reader.py COMMAND ARGUMENT…

The command itself holds the reading end, so that writing to the pipe is no error: it waits for ever.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_PIECE = b"x" * 4096


def main() -> None:
    """Becomes the command."""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, _PIECE)
    os.set_blocking(writing, True)
    for descriptor in (1, 2):
        os.dup2(writing, descriptor)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
