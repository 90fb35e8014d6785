"""The program that looks at RSA keys: `python -P -m signerd.adapters.key_quality_process`.

It reads moduli on standard input, each as two octets of length and its octets, big-endian, and writes a line
for each: what is wrong with it, empty if nothing is. At the end of input it ends. It holds no secret and no
descriptor but its three, and steps back behind signerd where the processor is short.
"""

from __future__ import annotations

import struct
import sys

from signerd.adapters.stepping_back import step_back
from signerd.core.key_policy import WeakKeyError, check_modulus

LENGTH = struct.Struct(">H")
_NICE = 5  # behind signerd and its key holders, before what may wait for hours
_MAX_MEMORY = 1024**3  # bytes of address space


def main() -> int:
    """Answers until the input ends. Whatever goes wrong ends it with a traceback on standard error."""
    step_back(nice=_NICE, memory=_MAX_MEMORY)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(LENGTH.size):
        data = source.read(LENGTH.unpack(header)[0])
        try:
            check_modulus(int.from_bytes(data))
            finding = ""
        except WeakKeyError as error:
            finding = str(error)
        sink.write(finding.encode() + b"\n")
        sink.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
